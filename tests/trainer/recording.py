"""All that a user can see of a run: each call of each hook, with its arguments and the progress at that moment."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.core.hooks import CheckpointHooks, DataHooks, ModelHooks
from pytorch_lightning.loggers import Logger
from pytorch_lightning.loops.loop import _Loop
from pytorch_lightning.loops.progress import _BaseProgress
from torch import Tensor, nn

STEPS = ("training_step", "validation_step", "test_step", "predict_step")
OPTIMIZING = (
    "backward",
    "optimizer_step",
    "optimizer_zero_grad",
    "lr_scheduler_step",
    "configure_gradient_clipping",
    "configure_optimizers",
)
_NOT_HOOKS = {"state_key", "state_dict", "load_state_dict"}


def hooks_of(*classes: type) -> list[str]:
    """The public methods that these classes define."""
    return [
        name
        for cls in classes
        for name, value in vars(cls).items()
        if inspect.isfunction(value) and not name.startswith("_") and name not in _NOT_HOOKS
    ]


CALLBACK_HOOKS = hooks_of(pl.Callback)
_LOADERS = {"train_dataloader", "val_dataloader", "test_dataloader", "predict_dataloader", "prepare_data"}
MODULE_HOOKS = [
    name
    for name in [*hooks_of(ModelHooks, DataHooks, CheckpointHooks), *OPTIMIZING]
    if name not in _LOADERS | {"configure_sharded_model"}
]


@dataclass
class Recording:
    """What happened, in order, and what was left at the end."""

    events: list[tuple] = field(default_factory=list)
    weights: Any = None
    checkpoint: Any = None
    result: Any = None

    def add(self, who: str, hook: str, args: Iterable[Any], trainer: Any) -> None:
        self.events.append((who, hook, describe(list(args)), state_of(trainer)))


def state_of(trainer: Any) -> Any:
    """What a hook can read of the trainer: how far it is, in which stage, and from where `self.log` would log."""
    evaluating = [trainer.validate_loop, trainer.test_loop, trainer.predict_loop]
    loops = [trainer.fit_loop] if trainer.state.fn == "fit" else evaluating
    module = trainer.lightning_module
    return progress_of(loops), describe(
        {
            "fx": module._current_fx_name if module is not None else None,
            "stage": str(trainer.state.stage),
            "step": (trainer.global_step, trainer.current_epoch) if module is not None else None,
            "stopping": trainer.should_stop,
            "values": [trainer.callback_metrics, trainer.logged_metrics, trainer.progress_bar_metrics],
            "grad": torch.is_grad_enabled(),
            "training": module.training if module is not None else None,
            "last": trainer.fit_loop.epoch_loop.batch_progress.is_last_batch,
        }
    )


def progress_of(value: Any) -> Any:
    """The counters of loops and of the loops in them, as `state_dict` has them, which copies far more than it keeps."""
    if isinstance(value, list):
        return tuple(map(progress_of, value))
    if isinstance(value, _Loop):
        parts = {name: part for name, part in vars(value).items() if isinstance(part, (_Loop, _BaseProgress))}
        return describe(value.on_save_checkpoint()), tuple(parts), tuple(map(progress_of, parts.values()))
    if isinstance(value, _BaseProgress):
        return tuple(map(progress_of, vars(value).values()))
    return value


def describe(value: Any) -> Any:
    """A value as something that can be compared, every bit of a tensor included."""
    if isinstance(value, Tensor):
        bits = value.detach().cpu().contiguous()
        return ("tensor", str(value.dtype), tuple(value.shape), bits.view(-1).view(torch.uint8).numpy().tobytes())
    if isinstance(value, Mapping):
        return {str(key): describe(item) for key, item in value.items() if key != "Timer"}  # how long it took
    if isinstance(value, (list, tuple)):
        return [type(value).__name__, *(describe(item) for item in value)]
    if isinstance(value, (int, float, str, bool, type(None))):
        return repr(value)
    if isinstance(value, BaseException):
        return f"{type(value).__name__}: {value}"
    if isinstance(value, pl.Trainer):
        return "trainer"
    return type(value).__name__


def recording_callback(recording: Recording, hooks: Collection[str] = CALLBACK_HOOKS) -> pl.Callback:
    """A callback that overrides these hooks, and only these."""

    def hook(name: str) -> Callable:
        def record(self: Any, trainer: Any, module: Any, *args: Any, **kwargs: Any) -> None:
            recording.add("callback", name, [*args, kwargs], trainer)

        record.__signature__ = inspect.signature(getattr(pl.Callback, name))
        return record

    return type("RecordingCallback", (pl.Callback,), {name: hook(name) for name in hooks})()


def recording_module(base: type, recording: Recording, hooks: Collection[str]) -> type:
    """A subclass that overrides these hooks, and only these; each does what the base class does."""

    def hook(name: str) -> Callable:
        original = getattr(base, name)

        def record(self: Any, *args: Any, **kwargs: Any) -> Any:
            if self._trainer is not None:
                recording.add("module", name, [*args, kwargs], self.trainer)
            return original(self, *args, **kwargs)

        record.__signature__ = inspect.signature(original)
        return record

    return type(base.__name__, (base,), {name: hook(name) for name in hooks})


class RecordingLogger(Logger):
    """A logger whose rows are the recording's."""

    def __init__(self, recording: Recording, folder: Path) -> None:
        super().__init__()
        self.recording, self._folder = recording, folder

    name, version = "recording", "0"

    @property
    def save_dir(self) -> str:
        return str(self._folder)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.recording.events.append(("logger", "log_metrics", describe(dict(metrics)), step))

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        self.recording.events.append(("logger", "log_hyperparams", describe(params), None))

    def save(self) -> None:
        self.recording.events.append(("logger", "save", None, None))

    def finalize(self, status: str) -> None:
        self.recording.events.append(("logger", "finalize", status, None))


class RecordingSGD(torch.optim.SGD):
    """An optimizer that tells what is called on it."""

    recording: Recording | None = None

    def zero_grad(self, set_to_none: bool = True) -> None:
        self._tell("zero_grad")
        super().zero_grad(set_to_none)

    @torch.no_grad()
    def step(self, closure: Callable | None = None) -> Any:
        self._tell("step", closure is not None)
        loss = super().step(closure)
        self._tell("stepped", loss, [p.grad for group in self.param_groups for p in group["params"]])
        return loss

    def _tell(self, what: str, *args: Any) -> None:
        if self.recording is not None:
            self.recording.events.append(("optimizer", what, describe(args), None))


class Net(pl.LightningModule):
    """Plain Lightning, which logs values of steps and of epochs, and draws random numbers."""

    def __init__(self, recording: Recording | None = None, **options: Any) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.ReLU(), nn.Linear(8, 2))
        self.options, self.recording = options, recording

    def loss(self, batch: Any) -> Tensor:
        x, y = batch
        return nn.functional.cross_entropy(self.net(x), y)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.loss(batch)
        if self.options.get("logs", True):
            self.log("train/loss", loss, on_step=True, on_epoch=True, prog_bar=True)
            self.log("train/step_only", loss * 2)
        return loss

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        loss = self.loss(batch)
        if self.options.get("logs", True):
            self.log("val/loss", loss, on_step=True, on_epoch=True)
        return {"loss": loss, "idx": dataloader_idx}

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        self.log("test/loss", self.loss(batch))

    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        return self.net(batch[0])

    def configure_optimizers(self) -> Any:
        optimizer = RecordingSGD(self.parameters(), lr=0.1, momentum=0.9)
        optimizer.recording = self.recording
        schedule = self.options.get("schedule")
        return optimizer if schedule is None else {"optimizer": optimizer, "lr_scheduler": schedule(optimizer)}
