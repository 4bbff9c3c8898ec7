"""The few private names of Lightning that Lighter reads, each with the reason.

Tested against the Lightning versions that `pyproject.toml` allows; nothing here changes Lightning's state, but for
what says so, and `predicted_samples` and `start_predicting_at`.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from pytorch_lightning.strategies import ModelParallelStrategy
from pytorch_lightning.strategies.launchers.subprocess_script import _SubprocessScriptLauncher
from pytorch_lightning.trainer.states import RunningStage
from pytorch_lightning.utilities.signature_utils import is_param_in_hook_signature
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from lighter.errors import PredictionError
from lighter.processes.signals import is_lightnings

_AVERAGES = ".callbacks.weight_averaging"
_SEARCHES = (".callbacks.lr_finder", ".callbacks.batch_size_finder")


def logs_this_step(trainer: Any) -> bool:
    """Whether Lightning will pass the values of the training step that is running to the loggers.

    Private, because the public `global_step` counts every optimizer of a step and `log_every_n_steps` counts steps,
    and because nothing public says whether this batch only accumulates gradients.
    """
    every, stepped = trainer.log_every_n_steps, trainer.fit_loop.epoch_loop._batches_that_stepped
    due = bool(every) and ((stepped + 1) % every == 0 or trainer.should_stop)
    if not (due or trainer.fast_dev_run):
        return False
    return not (trainer.lightning_module.automatic_optimization and trainer.fit_loop._should_accumulate())


_RUNNING = {
    "train": (RunningStage.TRAINING,),
    "val": (RunningStage.VALIDATING, RunningStage.SANITY_CHECKING),
    "test": (RunningStage.TESTING,),
}


def runs_steps_of(trainer: Any, mode: str) -> bool:
    """Whether a trainer runs steps of a mode now; a step that is called at another moment is somebody's own call."""
    return trainer.state.stage in _RUNNING[mode]


def is_sanity_check(trainer: Any) -> bool:
    """Whether the validation before a fit is running. The public `sanity_checking` compares texts, at every step."""
    return trainer.state.stage is RunningStage.SANITY_CHECKING


def log_again(trainer: Any, hook: str | None, name: str, value: Any) -> bool:
    """Log a metric object that `self.log` has logged before, from the same hook and under the same name.

    Private, because `self.log` looks for changes in its arguments and copies what it keeps of them, which costs a
    quarter of a millisecond a value and epoch.

    Returns:
        whether it was logged: not if `self.log` has yet to see it.
    """
    results = trainer._results
    loader = "" if results.dataloader_idx is None else f".{results.dataloader_idx}"
    key = f"{hook}.{name}{loader}"
    if key not in results or results[key].value is not value:
        return False
    results.update_metrics(key, value, 1)
    return True


def logging_step(trainer: Any) -> int:
    """The number that Lightning gives the loggers as the step of the training step that is running.

    Private for the same reason; with it our rows line up with what `self.log` and Lightning's callbacks log.
    """
    return int(trainer.fit_loop.epoch_loop._batches_that_stepped)


def batches_started(trainer: Any) -> int:
    """The number of the training batch that is running, over all epochs.

    Private, because the public `global_step` stays the same while gradients add up.
    """
    return int(trainer.fit_loop.epoch_loop.batch_progress.total.started)


def fits_without_validation(trainer: Any) -> bool:
    """Whether a fit is running for which nobody gave validation data.

    Private, because the public `val_dataloaders` is known only when the validation is set up, and Lightning asks
    before that whether there is a `validation_step`, to complain of one without data.
    """
    source = trainer.fit_loop.epoch_loop.val_loop._data_source
    return trainer.state.fn == "fit" and not source.is_defined()


def is_search(callback: object) -> bool:
    """Return whether a callback, of either package of Lightning's, searches for a learning rate or a batch size."""
    return any(base.__module__.endswith(_SEARCHES) for base in type(callback).__mro__)


def average_before_start(callback: object) -> AveragedModel | None:
    """Return the average that a `WeightAveraging` of either package of Lightning's has not begun; None otherwise.

    Private, as the callback's `_average_model` is.
    """
    if not any(base.__module__.endswith(_AVERAGES) for base in type(callback).__mro__):
        return None
    average: AveragedModel | None = getattr(callback, "_average_model", None)
    return average if average is not None and not int(average.n_averaged) else None


def takes_batch_idx(step: Any) -> bool:
    """Whether a step takes the index of the batch. Lightning asks with this helper of its own, at every step."""
    return is_param_in_hook_signature(step, "batch_idx", min_args=2)


def predicted_samples(trainer: Any, loader: int, batch: int) -> list[int] | None:
    """The indices in the dataset of a batch's samples; None where the dataloader has none.

    Private, because Lightning tells them only its own `BasePredictionWriter`. It keeps those of all batches, which is
    memory that grows with the samples; those of the batch before are let go here.
    """
    seen = _seen(_loader(trainer, loader))
    if seen is None or batch >= len(seen):
        return None
    if batch:
        seen[batch - 1] = []
    return list(seen[batch])


def start_predicting_at(trainer: Any, place: tuple[int, int], written: Sequence[Sequence[int] | None]) -> None:
    """Let a prediction that is about to start begin at a later batch. Batches before it are not loaded.

    Those of a dataset without indices are, as there is no other way past them. Private, because Lightning has no
    prediction that goes on.

    Args:
        place: the dataloader and its batch; behind the last dataloader, there is nothing left to do.
        written: the indices in that dataloader's batches before it, to see that they are what they were.

    Raises:
        PredictionError: the dataloader gives other batches than it did.
    """
    loop = trainer.predict_loop
    combined, fetcher = loop._combined_loader, loop._data_fetcher
    sequential, (number, batch) = combined._iterator, place
    number = min(number, len(combined.flattened))
    samplers = [loader.batch_sampler for loader in combined.flattened[number : number + 1] if _seen(loader) is not None]
    for sampler in samplers:
        sampler._batch_sampler = _Later(sampler, written)
    sequential._iterator_idx, sequential._idx = number, batch if samplers else 0
    sequential._load_current_iterator()
    fetcher.reset()
    while not samplers and number < len(combined.flattened) and (number, sequential._idx) < place:
        if next(sequential, (None, 0, -1))[2] != number:
            raise PredictionError(f"dataloader {number} gives fewer batches than the {batch} that are written")
    fetcher.fetched = sum(loop.max_batches[:number]) + batch


class _Later:
    """A batch sampler without its first batches. Lightning's wrapper around it sees their indices nevertheless."""

    def __init__(self, wrapper: Any, written: Sequence[Sequence[int] | None]) -> None:
        self.wrapper, self.written, self.whole = wrapper, written, wrapper._batch_sampler

    def __len__(self) -> int:
        return len(self.whole)

    def __iter__(self) -> Iterator[Any]:
        batches: Iterator[Any] = iter(self.whole)
        for number, samples in enumerate(self.written):
            found = next(batches, None)
            if found is None or (samples is not None and list(found) != list(samples)):
                raise PredictionError(
                    f"batch {number} of the dataloader has other samples than when it was written, so this prediction"
                    " cannot go on: a sampler that shuffles, or data that changed. Start it anew"
                )
            self.wrapper.seen_batch_indices.append([])
        return batches


def _loader(trainer: Any, number: int) -> Any:
    return trainer.predict_loop._combined_loader.flattened[number]


def _seen(loader: Any) -> list[list[int]] | None:
    """The indices of the batches that a dataloader has given, if Lightning's wrapper keeps them."""
    seen = getattr(getattr(loader, "batch_sampler", None), "seen_batch_indices", None)
    return seen if isinstance(seen, list) else None


def log_other_hparams(module: Any, hparams: Mapping[str, Any]) -> None:
    """Give the loggers these hyperparameters in place of those that a module, or a data module, saved.

    Private, because nothing public stands between `save_hyperparameters` and the loggers. This changes Lightning's
    state: the copy that it keeps for the loggers and for nothing else.
    """
    if module._log_hyperparams:
        module._hparams_initial = dict(hparams)


class RunningLoader(NamedTuple):
    """A dataloader of a trainer.

    Attributes:
        name: what to call it.
        loader: the dataloader.
        iterators: torch's that go over it, with workers.
    """

    name: str
    loader: Any
    iterators: Sequence[Any]

    @property
    def workers(self) -> list[Any]:
        """The worker processes."""
        return [worker for iterator in self.iterators for worker in iterator._workers]


def _loops(trainer: Any) -> list[tuple[str, Any]]:
    """What loads data, and which."""
    fits = trainer.fit_loop
    loops = [("train", fits), ("val", fits.epoch_loop.val_loop), ("val", trainer.validate_loop)]
    return [*loops, ("test", trainer.test_loop), ("predict", trainer.predict_loop)]


def forget_unbegun_fetchers(trainer: Any) -> None:
    """Where dataloaders failed when they began, let Lightning clean up without an error of its own in that one's place.

    Private, as `_data_fetcher` is: its `teardown` asks for the length of an iteration that was never begun.
    """
    for _, loop in _loops(trainer):
        combined = loop._combined_loader  # none after a search for a learning rate
        if loop._data_fetcher is not None and (combined is None or combined._iterator is None):
            loop._data_fetcher = None


def running_loaders(trainer: Any) -> Iterator[RunningLoader]:
    """The dataloaders that a trainer has set up.

    Private, as the loops' `_combined_loader` and torch's `_workers` are: nothing public tells whose a process is.
    """
    for split, combined in ((split, loop._combined_loader) for split, loop in _loops(trainer)):
        if combined is None:
            continue
        running = getattr(combined._iterator, "iterators", None) or ()
        for number, loader in enumerate(combined.flattened):
            which = f" {number}" if len(combined.flattened) > 1 else ""
            candidates = {id(one): one for one in (*running, getattr(loader, "_iterator", None))}.values()
            iterators = [one for one in candidates if _is_over(one, loader)]
            yield RunningLoader(f"{split} dataloader{which}", loader, iterators)


def _is_over(iterator: Any, loader: Any) -> bool:
    """Whether an iterator with workers goes over a dataloader: it has the loader's dataset and sampler."""
    return (
        isinstance(iterator, _MultiProcessingDataLoaderIter)
        and iterator._dataset is getattr(loader, "dataset", None)
        and iterator._index_sampler is getattr(loader, "_index_sampler", None)
    )  # fmt: skip


def requeue_signal(trainer: Any) -> int | None:
    """The signal at which Lightning requeues a SLURM job, if the user asked for that with a plugin.

    Private, because only the flag tells a plugin that somebody gave from the one that Lightning finds by itself.
    """
    given = trainer._accelerator_connector._cluster_environment_flag
    if not isinstance(given, SLURMEnvironment) or not given.auto_requeue:
        return None
    return None if given.requeue_signal is None else int(given.requeue_signal)


def tell_to_stop(trainer: Any) -> None:
    """Let Lightning's loops stop at their next batch. This changes Lightning's state.

    Private, because `received_sigterm`, which the loops ask, cannot be set; Lightning's own handler sets this, for
    SIGTERM alone and in one process.
    """
    trainer._signal_connector.received_sigterm = True


def leave_handlers(trainer: Any) -> None:
    """Keep the handlers that are not Lightning's. This changes Lightning's state.

    Private: at a run's end Lightning puts all back that were there before. Those of the user's code would be lost, and
    the one that torch installs for good with a process's first workers: a dead one would be noticed seconds later.
    """
    puts_back = trainer._signal_connector._original_handlers
    there = {signum: signal.getsignal(signum) for signum in puts_back}
    puts_back.update((signum, handler) for signum, handler in there.items() if not is_lightnings(handler))


def meet_in_each_batch(trainer: Any) -> bool:
    """Return whether the processes wait for each other in the forward pass of each batch, of an evaluation too.

    Strategies that shard do: FSDP and DeepSpeed wrap the module, and with `ModelParallelStrategy` the module shards its
    layers in place. DDP does in the first batch after training, to give all the buffers of the first process; without
    gradients there is nothing new to give afterwards, so one process may have more batches than another.
    """
    if isinstance(trainer.strategy, ModelParallelStrategy):
        return True
    model = trainer.strategy.model
    return model is not trainer.lightning_module and not isinstance(model, DistributedDataParallel)


def child_processes(trainer: Any) -> list[Any]:
    """The processes of other ranks that a trainer has started, as `subprocess` starts them."""
    launcher = trainer.strategy.launcher
    return list(launcher.procs) if isinstance(launcher, _SubprocessScriptLauncher) else []


def let_children_end(trainer: Any) -> None:
    """Let the processes of other ranks end, with an error's code or not. This changes Lightning's state.

    Private: Lightning's thread kills this process when one in the list has ended with another code than 0.
    """
    launcher = trainer.strategy.launcher
    if isinstance(launcher, _SubprocessScriptLauncher):
        launcher.procs.clear()
