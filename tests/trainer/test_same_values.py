"""Logged values in `lighter.Trainer` and in Lightning's, where a step ends early or a metric gets unusual tensors."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric, Metric, SumMetric
from torchmetrics.classification import MulticlassAccuracy

import lighter
from tests.trainer.fits import shuffled, val_loaders

pytestmark = pytest.mark.filterwarnings("ignore:.*:UserWarning")


class Stopped(Exception):  # noqa: N818 - raised by a test
    pass


class Module(pl.LightningModule):
    """Logs a value in several hooks, and fails in one of them, in the fourth batch."""

    def __init__(self, fails_in: str = "") -> None:
        super().__init__()
        self.net, self.fails_in = nn.Linear(4, 2), fails_in

    def note(self, hook: str, batch_idx: int) -> None:
        self.log(f"{hook}/value", float(batch_idx), prog_bar=True, on_step=True, on_epoch=True)
        if hook == self.fails_in and batch_idx == 3:
            raise Stopped

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.note("training_step", batch_idx)
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def backward(self, loss: Tensor, *args: Any) -> None:  # type: ignore[override]
        self.note("backward", self.trainer.fit_loop.epoch_loop.batch_idx)
        super().backward(loss, *args)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.note("validation_step", batch_idx)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> int | None:
        self.note("on_train_batch_start", batch_idx)
        return -1 if self.fails_in == "" and batch_idx == 3 else None

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Reading(pl.Callback):
    """Reads some of the values in the middle of each step."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def on_before_backward(self, trainer: pl.Trainer, *_: Any) -> None:
        getattr(trainer, self.kind)


KINDS = ("callback_metrics", "logged_metrics", "progress_bar_metrics")


def trainer_of(trainer_class: type[pl.Trainer], folder: Path, **arguments: Any) -> pl.Trainer:
    if trainer_class is lighter.Trainer:
        arguments |= {"exact_resume": False}
    return trainer_class(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0, default_root_dir=folder, **arguments,
    )  # fmt: skip


def of_both(values: Callable[[type[pl.Trainer]], Any]) -> tuple[Any, Any]:
    return values(pl.Trainer), values(lighter.Trainer)


@pytest.mark.parametrize("reads", ["", *KINDS])
@pytest.mark.parametrize("fails_in", ["", "on_train_batch_start", "training_step", "backward", "validation_step"])
def test_a_step_that_does_not_end_leaves_the_values_of_the_one_before(
    fails_in: str, reads: str, tmp_path: Path
) -> None:
    def values(trainer_class: type[pl.Trainer]) -> dict[str, dict[str, float]]:
        pl.seed_everything(1, verbose=False)
        trainer = trainer_of(trainer_class, tmp_path, callbacks=[Reading(reads)] if reads else [])
        with suppress(Stopped):
            val = val_loaders(3)[2] if fails_in in ("", "validation_step") else None
            trainer.fit(Module(fails_in), shuffled(), val)
            assert not fails_in
        return {kind: {name: float(value) for name, value in getattr(trainer, kind).items()} for kind in KINDS}

    lightnings, ours = of_both(values)
    assert lightnings["callback_metrics"]
    assert ours == lightnings


def test_a_validation_that_fails_leaves_the_values_of_the_step_before(tmp_path: Path) -> None:
    def values(trainer_class: type[pl.Trainer]) -> dict[str, Any]:
        trainer = trainer_of(trainer_class, tmp_path)
        with pytest.raises(Stopped):
            trainer.validate(Module("validation_step"), val_loaders(3)[2], verbose=False)
        return {kind: {name: float(value) for name, value in getattr(trainer, kind).items()} for kind in KINDS}

    lightnings, ours = of_both(values)
    assert lightnings["logged_metrics"] == {"validation_step/value_step": 2.0}
    assert ours == lightnings


class LoggedElsewhere(Module):
    """Calls metrics in its steps, and logs them in a hook, by another reference, and by a search for them."""

    def __init__(self) -> None:
        super().__init__("nowhere")
        self.first, self.val, self.other = MulticlassAccuracy(2), MulticlassAccuracy(2), MulticlassAccuracy(2)
        self.by_stage = {"train": self.first, "val": self.val}

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        for metric in (self.first, self.other):
            metric(self.net(batch[0]), batch[1])
        self.log("by_stage", self.by_stage["train"], on_step=True, on_epoch=True)
        found = {name: module for name, module in self.named_modules() if isinstance(module, Metric)}
        self.log("found", found["other"], on_step=True, on_epoch=False)
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def on_train_batch_end(self, *_: Any) -> None:
        self.log("in_hook", self.other, on_step=True, on_epoch=True)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.val(self.net(batch[0]), batch[1])
        self.log("val_by_stage", self.by_stage["val"], on_step=True, on_epoch=True)

    def on_validation_batch_end(self, *_: Any) -> None:
        self.log("val_in_hook", self.val, on_step=True, on_epoch=True)


def test_a_metric_is_logged_in_a_hook_or_by_another_reference(tmp_path: Path) -> None:
    def values(trainer_class: type[pl.Trainer]) -> list[Any]:
        pl.seed_everything(1, verbose=False)
        seen: list[dict[str, float]] = []

        class Noting(pl.Callback):
            def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
                seen.append({name: float(value) for name, value in trainer.callback_metrics.items()})

            def on_validation_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
                seen.append({name: float(value) for name, value in trainer.logged_metrics.items()})

        trainer = trainer_of(trainer_class, tmp_path, callbacks=[Noting()], log_every_n_steps=4)
        trainer.fit(LoggedElsewhere(), shuffled(), val_loaders(3)[2])
        return seen

    lightnings, ours = of_both(values)
    assert {"by_stage_step", "found", "in_hook_step"} <= lightnings[3].keys()
    assert {"val_by_stage_step", "val_in_hook_step"} <= lightnings[-1].keys()
    assert ours == lightnings


def column(values: Tensor) -> Tensor:
    return values[:, 1]


def every_other(values: Tensor) -> Tensor:
    return values[::2, ::2]


def transposed(values: Tensor) -> Tensor:
    return values.t()


def repeated(values: Tensor) -> Tensor:
    return values[:, :1].expand(-1, 5)


@pytest.mark.parametrize("layout", [column, every_other, transposed, repeated], ids=lambda f: f.__name__)
@pytest.mark.parametrize("metric", [MeanMetric, SumMetric])
def test_sums_have_the_same_bits_whatever_the_layout(
    metric: type[Metric], layout: Callable[[Tensor], Tensor], tmp_path: Path
) -> None:
    class Sums(Module):
        def __init__(self) -> None:
            super().__init__("nowhere")
            self.metric = metric()

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            values = torch.randn(301, 7)
            self.seen = [*getattr(self, "seen", ()), self.metric(layout(values)) + 0]
            self.log("metric", self.metric, on_step=False, on_epoch=True)
            values.zero_()
            return super().training_step(batch, batch_idx)

    def values(trainer_class: type[pl.Trainer]) -> list[float]:
        pl.seed_everything(1, verbose=False)
        trainer, module = trainer_of(trainer_class, tmp_path, log_every_n_steps=3), Sums()
        trainer.fit(module, shuffled())
        return [*map(float, module.seen), float(trainer.callback_metrics["metric"])]

    lightnings, ours = of_both(values)
    assert len(lightnings) > 5
    assert ours == lightnings
