"""Lightning's signal handlers, and the processes that it starts."""

from __future__ import annotations

import signal
from subprocess import Popen

import pytorch_lightning as pl
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from pytorch_lightning.strategies import ModelParallelStrategy
from torch.nn.parallel import DistributedDataParallel

from lighter.processes.signals import is_lightnings


def requeue_signal(trainer: pl.Trainer) -> int | None:
    """Return the signal at which Lightning requeues a SLURM job, if the user asked for that with a plugin."""
    # only the private flag tells the user's plugin from the one that Lightning finds by itself
    environment = trainer._accelerator_connector._cluster_environment_flag
    if not isinstance(environment, SLURMEnvironment) or not environment.auto_requeue:
        return None
    return None if environment.requeue_signal is None else int(environment.requeue_signal)


def tell_to_stop(trainer: pl.Trainer) -> None:
    """Let Lightning's loops stop at their next batch."""
    # loops ask `trainer.received_sigterm`, which cannot be set; Lightning's own handler sets this, for SIGTERM in one
    # process
    trainer._signal_connector.received_sigterm = True


def leave_handlers(trainer: pl.Trainer) -> None:
    """Keep the signal handlers that are not Lightning's when it puts back those from before the run."""
    # The user's would be lost, and the one that torch installs for good with a process's first workers: the death of
    # one would be noticed seconds later.
    restored = trainer._signal_connector._original_handlers
    current = {signum: signal.getsignal(signum) for signum in restored}
    restored.update((signum, handler) for signum, handler in current.items() if not is_lightnings(handler))


def meet_in_each_batch(trainer: pl.Trainer) -> bool:
    """Return whether the processes wait for each other in the forward pass of each batch, of an evaluation too."""
    # the module shards its layers in place, so nothing wraps it
    if isinstance(trainer.strategy, ModelParallelStrategy):
        return True
    model = trainer.strategy.model
    # FSDP and DeepSpeed wrap the module. DDP waits in the first batch after training, to give all the buffers of the
    # first process; without gradients there is nothing new to give afterwards, so one process may have more batches.
    return model is not trainer.lightning_module and not isinstance(model, DistributedDataParallel)


def child_processes(trainer: pl.Trainer) -> list[Popen]:
    """Return the processes of other ranks that a trainer has started as scripts, which is `launcher.procs`."""
    processes = getattr(trainer.strategy.launcher, "procs", ())
    return [process for process in processes if isinstance(process, Popen)]


def let_children_end(trainer: pl.Trainer) -> None:
    """Let the processes of other ranks end, with an error's code or not."""
    if child_processes(trainer):
        # Lightning's thread kills this process when one in the list has ended with another code than 0
        trainer.strategy.launcher.procs.clear()  # type: ignore[union-attr]
