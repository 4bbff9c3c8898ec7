"""The memory that a training step takes, before anything is started: `lighter summary --memory`.

The step runs on tensors that have shapes and no memory, so that the largest network takes none; where it needs values,
it runs on the CPU. Bytes are those of tensors: what an operator takes for itself and frees at once is not in them, nor
what CUDA and the allocator take.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning import Callback, LightningModule
from pytorch_lightning.plugins.precision import Precision
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.optim import Optimizer
from torch.utils._pytree import tree_leaves, tree_map_only

from lighter._lightning.live_bytes import NEEDS_VALUES, LiveBytes, fake_copy, fake_mesh, fake_tensors, make_fake
from lighter.base import PREFIXES
from lighter.config import Config
from lighter.config.problems import Problem
from lighter.engine.build import prepare_split
from lighter.engine.failures import where_it_failed
from lighter.engine.measured_step import ONE_STEP, tensors_in
from lighter.engine.parallel import parallel_settings
from lighter.engine.plan import plan_of
from lighter.engine.probe import first_batch, module_on_meta
from lighter.engine.trial import QUIET, make_trial, quiet_trainer, without_advice
from lighter.errors import ConfigError, MisfitError
from lighter.parallel.settings import ParallelSettings

_KINDS = ("parameters", "buffers", "gradients", "optimizer", "batch")
# The CPU's kernels keep buffers of their own in these, of a size that only the kernel knows.
_NEEDS_VALUES = (nn.RNNBase,)


@dataclass(frozen=True)
class Memory:
    """Bytes of tensors per device at the moment of a training step when they take most.

    `gradients` are those at that moment, and the buckets of DDP that all of them are copied into. `activations` are all
    that is neither of the other kinds: what the forward pass keeps for the backward pass, and what both compute with.
    `reason` says why the step ran on the CPU; empty where it took no memory.
    """

    parameters: int
    buffers: int
    gradients: int
    optimizer: int
    batch: int
    activations: int
    reason: str = ""

    @property
    def peak(self) -> int:
        return sum(getattr(self, kind) for kind in (*_KINDS, "activations"))


def estimate_memory(config: Config) -> Memory:
    """Estimate what a training step of a config takes. Nothing is written.

    Raises:
        ConfigError: what is built does not fit together, or the config is an untrusted one.
        Exception: whatever the user's code raises, with a note that says where in the config it belongs.
    """
    if config.safe is not None:
        raise ConfigError([Problem("an untrusted config is not tried: what comes from a URL runs in safe mode only")])
    with TemporaryDirectory() as name, without_advice():
        try:
            return _on_fake_tensors(config, Path(name))
        except MisfitError as error:  # of the section `parallel`
            raise ConfigError([Problem(str(error))]) from error
        except Exception as error:
            lines = str(error).splitlines()
            reason = f"{type(error).__name__}: {lines[0] if lines else ''}"
            if parallel_settings(config.objects()) is not None:
                raise _unknown(error, reason) from error
        return _on_cpu(config, Path(name), reason)


class RecurrentLayersError(TypeError):
    """Recurrent layers keep buffers of a size that only a real step shows."""


def _unknown(error: Exception, reason: str) -> Exception:
    if not isinstance(error, (RecurrentLayersError, *NEEDS_VALUES)):
        return error  # of the user's code
    message = f"parallel: the memory is known only from a real step, which takes all processes. {reason}"
    return ConfigError([Problem(message, hint="For one process: parallel=null")])


class _Meter:
    """The peak of the steps after the first, which makes the optimizer's state, by kinds."""

    def __init__(self, module: LightningModule) -> None:
        self.module, self.live = module, LiveBytes()
        self.numbers: dict[str, set[int | None]] = {kind: set() for kind in _KINDS}

    def see(self, kind: str, tensors: Iterable[Tensor]) -> None:
        for tensor in tensors:
            self.live.see(tensor)
            self.numbers[kind].add(self.live.number_of(tensor))

    def begin(self, batch: Any, optimizers: Iterable[Optimizer]) -> None:
        """Look for the peak from here on."""
        self.see("parameters", self.module.parameters())
        self.see("buffers", self.module.buffers())
        self.see("batch", tensors_in(batch))
        for optimizer in optimizers:
            self.see("optimizer", tensors_in(list(optimizer.state.values())))
        self.see_gradients()
        self.live.begin()

    def see_gradients(self) -> None:
        self.see("gradients", (item.grad for item in self.module.parameters() if item.grad is not None))

    def result(self, reason: str = "") -> Memory:
        sizes = dict(self.live.at_peak)
        found = {
            kind: sum(sizes.pop(number, 0) for number in self.numbers[kind] if number is not None) for kind in _KINDS
        }
        return Memory(**found, activations=sum(sizes.values()), reason=reason)


def _on_fake_tensors(config: Config, folder: Path) -> Memory:
    objects = config.objects()
    plan = plan_of(objects, "fit")
    prepare_split(objects, plan)
    batch = first_batch(objects, plan)
    trainer = dict(objects.lookup(objects.followed("trainer")) or {})
    settings = parallel_settings(objects)
    quiet = quiet_trainer(objects, {**QUIET, "accelerator": "cpu", "default_root_dir": str(folder)})
    module, precision = module_on_meta(objects, plan), quiet.precision_plugin
    if any(isinstance(part, _NEEDS_VALUES) for part in module.modules()):
        raise RecurrentLayersError("their kernels have buffers whose size only a real step shows")
    precision.convert_module(module)  # in its place; fake tensors are not changed so
    sizes = (1, 1) if settings is None else settings.sizes(_processes(trainer, settings))
    with fake_mesh(*sizes) as mesh:
        if settings is not None:
            _divide(module.to("meta"), settings, mesh, str(precision.precision))
        with fake_tensors():
            return _with_buckets(_stepped(module, batch, precision), module, trainer)


def _stepped(module: LightningModule, batch: Any, precision: Precision) -> Memory:
    make_fake(module)
    batch = precision.convert_input(tree_map_only(Tensor, fake_copy, batch))
    optimizers = [item for item in tree_leaves(module.configure_optimizers()) if isinstance(item, Optimizer)]
    return _measured(module, batch, optimizers, precision.train_step_context)


def _divide(module: LightningModule, settings: ParallelSettings, mesh: DeviceMesh, precision: str) -> None:
    from lighter.parallel.sharding import Division, Means, divide  # imports much of torch.distributed

    division = Division.of(replace(settings, compile=()), module, PREFIXES)
    divide(module, division, Means(mesh, precision, lambda unit: unit, None))


def _processes(trainer: Mapping[str, Any], settings: ParallelSettings) -> int:
    count = _given_processes(trainer)
    if count:
        return count
    if settings.data is None:
        raise MisfitError("parallel::data: say how many processes there are to be: `data`, or `trainer::devices`")
    return settings.data * settings.tensor


def _given_processes(trainer: Mapping[str, Any]) -> int:
    devices, nodes = trainer.get("devices") or 0, trainer.get("num_nodes") or 1
    return (len(devices) if isinstance(devices, list) else int(devices) if str(devices).isdigit() else 0) * int(nodes)


def _with_buckets(memory: Memory, module: LightningModule, trainer: Mapping[str, Any]) -> Memory:
    """Add the buckets of DDP: as many bytes as all gradients have, throughout."""
    strategy = trainer.get("strategy") or "auto"
    settings = strategy if isinstance(strategy, Mapping) else {"_target_": strategy}
    name = str(settings.get("_target_")).lower()
    if _given_processes(trainer) < 2 or not (name == "auto" or "ddp" in name):
        return memory
    if settings.get("gradient_as_bucket_view"):  # they are the gradients
        return memory
    buckets = sum(item.nbytes for item in module.parameters() if item.requires_grad)
    return replace(memory, gradients=memory.gradients + buckets)


def _measured(
    module: LightningModule,
    batch: Any,
    optimizers: list[Optimizer],
    context: Callable[[], AbstractContextManager[None]],
) -> Memory:
    meter = _Meter(module)
    with meter.live:
        for _ in range(2):
            meter.begin(batch, optimizers)
            # Lightning's order: the gradients of the step before are there until the forward pass has ended.
            with context():
                output: Any = module.training_step(batch, 0)
            loss = output["loss"] if isinstance(output, dict) else output
            for optimizer in optimizers:
                optimizer.zero_grad()
            loss.backward()
            meter.see_gradients()
            del output, loss
            for optimizer in optimizers:
                optimizer.step()
    return meter.result()


class _Measures(Callback):
    def __init__(self) -> None:
        self.meter: _Meter | None = None
        self._step = ExitStack()

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.meter = self.meter or _Meter(pl_module)
        self._step.enter_context(self.meter.live)
        self.meter.begin(batch, trainer.optimizers)

    def on_before_optimizer_step(self, *_: Any) -> None:
        if self.meter is not None:
            self.meter.see_gradients()

    def on_train_batch_end(self, *_: Any) -> None:
        self._step.close()  # the next batch is made outside

    def on_exception(self, *_: Any) -> None:
        self._step.close()


def _on_cpu(config: Config, folder: Path, reason: str) -> Memory:
    measures = _Measures()
    trial = make_trial(config, folder, **{**ONE_STEP, "limit_train_batches": 2, "accelerator": "cpu"})
    trial.parts.trainer.callbacks.append(measures)  # type: ignore[attr-defined]
    with where_it_failed(trial.objects):
        trial.parts.trainer.fit(trial.parts.module, datamodule=trial.parts.data)
    if measures.meter is None:
        raise ConfigError([Problem("the training data has no batch")])
    trainer = dict(trial.objects.lookup(trial.objects.followed("trainer")) or {})
    return _with_buckets(measures.meter.result(reason), trial.parts.module, trainer)
