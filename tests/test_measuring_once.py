"""Each batch counts once, as Lightning got it, and nobody's numbers depend on whether somebody looks at them."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import CSVLogger
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import MeanSquaredError, Metric, R2Score
from torchmetrics.classification import MulticlassAccuracy
from torchmetrics.wrappers import BootStrapper, MetricTracker, MinMaxMetric, Running

import lighter
from tests.jobs import QUIET, Classifier, ForwardClassifier, PlainClassifier, loader, mlp
from tests.test_measuring import classifier, csv_logger, epoch_values, fit, rows, trainer

assert csv_logger  # a fixture


def accuracy() -> MulticlassAccuracy:
    return MulticlassAccuracy(10, average="micro")


def doubled(step: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(step)
    def twice(self: Any, *args: Any, **kwargs: Any) -> Any:
        return 2 * step(self, *args, **kwargs)

    return twice


class Decorated(Classifier):
    @doubled
    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx)


class Wrapping(Classifier):
    @functools.wraps(Classifier.training_step)
    def training_step(self, batch, batch_idx):
        return 2 * super().training_step(batch, batch_idx)


class Assigned(Classifier):
    training_step = doubled(Classifier.training_step)


class WrappingNothing(Classifier):
    @functools.wraps(lighter.LighterModule.training_step)
    def training_step(self, batch, batch_idx):
        return 2 * super().training_step(batch, batch_idx)


class WrappingLightnings(Classifier):
    @functools.wraps(pl.LightningModule.training_step)
    def training_step(self, batch, batch_idx):
        return 2 * super().training_step(batch, batch_idx)


class Replaced(Classifier):
    pass


Replaced.training_step = doubled(Replaced.training_step)  # as a decorator of the class does it


@pytest.mark.parametrize("kind", [Decorated, Wrapping, Assigned, WrappingNothing, WrappingLightnings, Replaced])
def test_what_is_logged_is_what_lightning_got(kind: Any, csv_logger: CSVLogger) -> None:
    class Watch(pl.Callback):
        got: list[float] = []

        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            self.got.append(float(outputs["loss"]))

    watch, module = Watch(), classifier(kind)
    watch.got.clear()
    run = fit(module, trainer(max_epochs=1, logger=csv_logger, log_every_n_steps=1, callbacks=[watch]), train=320)
    logged = [float(row["train/loss/step"]) for row in rows(csv_logger) if row.get("train/loss/step")]
    assert len(watch.got) == 10
    assert watch.got[0] > 4  # twice what it is
    assert logged == pytest.approx(watch.got)
    assert epoch_values(run)["train/loss/epoch"] == pytest.approx(sum(watch.got) / 10)


def test_a_hook_that_wraps_one_of_ours_is_followed_too() -> None:
    class Wrapping(Classifier):
        begun = 0

        @functools.wraps(Classifier.on_train_start)
        def on_train_start(self):
            self.begun += 1

        def _start_optimizers(self):
            self.begun += 10
            super()._start_optimizers()

    module = classifier(Wrapping)
    fit(module, trainer(max_epochs=1))
    assert module.begun == 11


def lbfgs(parameters: Any) -> Any:
    return torch.optim.LBFGS(parameters, lr=0.1, max_iter=3)


class Noting(Classifier):
    """Notes the loss of each call of the step."""

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        self.noted.append((self.current_epoch, batch_idx, loss.item(), len(batch[0])))
        return loss


class NotingForward(ForwardClassifier):
    """The same on another rung."""

    def forward(self, batch, batch_idx):
        output = super().forward(batch)
        self.noted.append((self.current_epoch, batch_idx, output["loss_dict"]["ce_loss"].item(), len(batch[0])))
        return output

    validation_step = lighter.LighterModule.validation_step  # which is none


class Counts(Metric):
    """How many samples it has seen, and how often it was asked for its value."""

    full_state_update = False
    asked = 0

    def __init__(self) -> None:
        super().__init__()
        self.add_state("seen", torch.zeros(()), "sum")

    def update(self, preds: Any, target: Any) -> None:
        self.seen += len(target)

    def compute(self) -> Any:
        self.asked += 1
        return self.seen


class CountsWithout:
    """An evaluator that is none of torchmetrics'."""

    seen = 0

    def update(self, preds: Any, target: Any) -> None:
        self.seen += len(target)

    def compute(self) -> int:
        return self.seen

    def reset(self) -> None:
        self.seen = 0


@pytest.mark.parametrize("of", [lighter.Trainer, pl.Trainer])
@pytest.mark.parametrize("rung", ["LighterModule", "ForwardModule"])
def test_a_batch_counts_once_where_the_optimizer_runs_it_again(of: Any, rung: str, csv_logger: CSVLogger) -> None:
    if rung == "LighterModule":
        module: Any = Noting(mlp(), nn.CrossEntropyLoss(), optimizer=lbfgs, train_metrics={"seen": Counts()})
        loss = "train/loss"
    else:
        module = NotingForward(mlp(), optimizer=lbfgs, evaluator_cfg={"train": {"seen": CountsWithout()}})
        loss = "train/loss/total"
    module.noted = []
    run = of(max_epochs=2, log_every_n_steps=1, **{**QUIET, "logger": csv_logger})
    run.fit(module, loader(0, 100), loader(300, 332) if rung == "LighterModule" else None)
    first = {(epoch, index): (value, size) for epoch, index, value, size in reversed(module.noted)}
    assert len(module.noted) > 2 * len(first) > 0
    mean = sum(value * size for (epoch, _), (value, size) in first.items() if epoch == 1) / 100
    assert float(run.callback_metrics[f"{loss}/epoch"]) == pytest.approx(mean)
    assert float(run.callback_metrics["train/metrics/seen/epoch"]) == 100
    logged = [float(row[f"{loss}/step"]) for row in rows(csv_logger) if row.get(f"{loss}/step")]
    assert sorted(logged) == pytest.approx(sorted(value for value, _ in first.values()))
    names = [row["step"] for row in rows(csv_logger) if row.get("train/lr")]
    assert len(names) == 2


def test_a_fit_of_one_batch_after_another_one_is_measured() -> None:
    module = classifier(Noting, train_metrics=None)
    module.optimizer, module.noted = lbfgs, []
    for _ in range(2):
        run = trainer(max_epochs=1)
        run.fit(module, loader(0, 20), loader(300, 332))
        assert float(run.callback_metrics["train/loss/epoch"]) == pytest.approx(module.noted[0][2])
        module.noted.clear()


class Early(Classifier):
    """Measures before its last layers have drawn."""

    def training_step(self, batch, batch_idx):
        hidden = self.network[0](batch[0])
        self.train_metrics(self.network[3](hidden), batch[1])
        return self.criterion(self.network[1:](hidden), batch[1])


WITH_TRACES: dict[str, Callable[[], Any]] = {
    "extremes": lambda: MinMaxMetric(accuracy()),
    "extremes beside another": lambda: {"a": MinMaxMetric(accuracy()), "b": accuracy()},
    "a window": lambda: Running(accuracy(), 3),
    "random numbers": lambda: BootStrapper(accuracy(), num_bootstraps=3),
}


@pytest.mark.parametrize("name", WITH_TRACES)
def test_observing_changes_nothing(name: str, tmp_path: Path) -> None:
    def run(every: int, sanity: int, *, logs: bool) -> dict[str, float]:
        pl.seed_everything(5, verbose=False)
        network = nn.Sequential(nn.Linear(64, 16), nn.Dropout(0.3), nn.ReLU(), nn.Linear(16, 10))
        adam = lambda parameters: torch.optim.Adam(parameters, lr=0.01)  # noqa: E731
        made = {mode: WITH_TRACES[name]() for mode in ("train_metrics", "val_metrics")}
        module = Early(network, nn.CrossEntropyLoss(), optimizer=adam, **made)
        logger = CSVLogger(tmp_path / f"{every}-{sanity}") if logs else False
        options = {**QUIET, "logger": logger, "log_every_n_steps": every, "num_sanity_val_steps": sanity}
        trains = lighter.Trainer(max_epochs=2, **options)
        trains.fit(module, loader(0, 160, shuffle=True), loader(300, 390))
        return {key: float(value) for key, value in trains.callback_metrics.items() if key.endswith("/epoch")}

    alone = run(50, 0, logs=False)
    assert len([key for key in alone if "/metrics/" in key]) >= 2
    assert run(1, 2, logs=True) == alone
    assert run(2, 2, logs=True) == alone


class Tracking(PlainClassifier):
    """A plain module whose metrics outlive an epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.best, self.tracked, self.kept = MinMaxMetric(accuracy()), MetricTracker(accuracy()), [CountsWithout()]

    def on_validation_epoch_start(self):
        self.tracked.increment()

    def validation_step(self, batch, batch_idx):
        pred = self.network(batch[0])
        self.best.update(pred, batch[1])
        self.tracked.update(pred, batch[1])
        self.kept[0].update(pred, batch[1])

    def on_validation_epoch_end(self):
        self.best.compute()
        self.best.reset()


@pytest.mark.parametrize("package", ["lighter", "pytorch_lightning"])
def test_the_sanity_check_leaves_no_trace_in_a_plain_module(package: str) -> None:
    def run(sanity: int) -> Any:
        pl.seed_everything(5, verbose=False)
        options = {"max_epochs": 1, "num_sanity_val_steps": sanity, **QUIET}
        trainer = {"_target_": f"{package}.Trainer", **options}
        module = Tracking()
        data = {"train_dataloaders": loader(0, 64), "val_dataloaders": loader(300, 390)}
        lighter.Runner().run("fit", {"seed": 5, "model": module, "trainer": trainer}, **data)
        return float(module.best.min_val), float(module.best.max_val), module.tracked.n_steps, module.kept[0].seen

    assert run(2) == run(0)
    assert run(0)[2:] == (1, 90)


class Regression(lighter.LighterModule):
    def training_step(self, batch, batch_idx):
        return self.step(batch, self.train_metrics)

    def validation_step(self, batch, batch_idx):
        return self.step(batch, self.val_metrics)

    def step(self, batch, metrics):
        pred = self(batch[0]).squeeze(1)
        metrics(pred, batch[1])
        return nn.functional.mse_loss(pred, batch[1])


def test_a_value_that_a_step_cannot_have_is_left_out_and_told_once(csv_logger: CSVLogger) -> None:
    x = torch.randn(9, 3, generator=torch.Generator().manual_seed(2))
    data = TensorDataset(x, x[:, 0])
    sgd = lambda parameters: torch.optim.SGD(parameters, lr=0.01)  # noqa: E731
    metrics = {"r2": R2Score(), "mse": MeanSquaredError()}
    module = Regression(nn.Linear(3, 1), optimizer=sgd, train_metrics=metrics, val_metrics=R2Score())
    options = {**QUIET, "logger": csv_logger, "log_every_n_steps": 1, "num_sanity_val_steps": 1}
    run = lighter.Trainer(max_epochs=2, **options)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run.fit(module, DataLoader(data, 4), DataLoader(data, 1))
    told = [str(one.message) for one in caught if "has no value" in str(one.message)]
    assert len(told) == 2  # of each mode
    assert "`r2`: ValueError: Needs at least two samples" in told[0]
    logged = rows(csv_logger)
    assert [len([row for row in logged if row.get(f"train/metrics/{name}/step")]) for name in ("r2", "mse")] == [4, 6]
    assert {"train/metrics/r2/epoch", "val/metrics/R2Score/epoch"} <= set(run.callback_metrics)


def test_an_evaluator_that_has_no_value_in_the_sanity_check() -> None:
    class Forward(lighter.ForwardModule):
        def forward(self, batch):
            pred = self.model(batch[0]).squeeze(1)
            loss = nn.functional.mse_loss(pred, batch[1])
            return {"loss_dict": {"loss": loss}, "metric_dict": {"preds": pred, "target": batch[1]}}

    x = torch.randn(9, 3)
    sgd = lambda parameters: torch.optim.SGD(parameters, lr=0.01)  # noqa: E731
    module = Forward(nn.Linear(3, 1), optimizer=sgd, evaluator_cfg={"val": R2Score()})
    run = lighter.Trainer(max_epochs=1, num_sanity_val_steps=1, **QUIET)
    run.fit(module, DataLoader(TensorDataset(x, x[:, 0]), 4), DataLoader(TensorDataset(x, x[:, 0]), 1))
    assert "val/metrics/R2Score/epoch" in run.callback_metrics


def boxes(samples: list[Any]) -> Any:
    """A batch as detection has it: lists of images and of dicts, whose first dimensions say nothing."""
    images = [image.reshape(1, 8, 8).expand(3, 8, 8) for image, _ in samples]
    return images, [{"labels": label.reshape(1)} for _, label in samples]


def of_lists(samples: list[Any]) -> Any:
    return {"weights": torch.ones(10), "x": torch.stack([x for x, _ in samples]), "y": [y for _, y in samples]}


def of_number(samples: list[Any]) -> Any:
    return [torch.tensor(0.5), *of_lists(samples).values()][::2]


GUESSED = [(boxes, "3 in `batch[0][0]`"), (of_lists, "10 in `weights`"), (of_number, "1 in `batch[0]`")]


@pytest.mark.parametrize(("collate", "told"), GUESSED)
def test_a_batch_whose_size_is_guessed_is_told_once(collate: Any, told: str) -> None:
    class Constant(Classifier):
        def training_step(self, batch, batch_idx):
            return self.validation_step(batch, batch_idx)

        def validation_step(self, batch, batch_idx):
            return sum(parameter.sum() for parameter in self.parameters())

        def transfer_batch_to_device(self, batch, device, dataloader_idx):
            return batch

    class Counting(Constant):
        def count_samples(self, batch):
            return 3  # as many as are guessed

    data = loader(0, 64).dataset
    for kind, times in ((Constant, 1), (Counting, 0)):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            loaders = [DataLoader(data, 32, collate_fn=collate) for _ in range(2)]
            trainer(max_epochs=2).fit(classifier(kind, train_metrics=None, val_metrics=None), *loaders)
        messages = [str(one.message) for one in caught if "first dimensions differ" in str(one.message)]
        assert len(messages) == times
        for message in messages:
            assert f"first dimensions differ: {told} and " in message
            assert f"say it in {kind.__name__}:\n  def count_samples(self, batch)" in message


class Tagged(torch.Tensor):
    """A tensor of a class of its own, which all that is computed with it has too, as MONAI's MetaTensor."""


class OfTagged(Classifier):
    """A loss, metrics and a value of its own that are tagged."""

    def training_step(self, batch, batch_idx):
        x, y = batch[0].as_subclass(Tagged), batch[1]
        pred = self(x)
        self.train_metrics(pred[:, 0], y.float())
        loss = self.criterion(pred, y)
        assert type(loss) is Tagged
        self.log("mine", loss, on_step=True, on_epoch=True)
        return {"loss": {"total": loss, "named": loss}}

    def validation_step(self, batch, batch_idx):
        pred = self(batch[0].as_subclass(Tagged))
        self.val_metrics(pred[:, 0], batch[1].float())
        return self.criterion(pred, batch[1])


class PlainOfTagged(PlainClassifier):
    """The same without Lighter, and a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("tagged", torch.ones(2).as_subclass(Tagged))

    def training_step(self, batch, batch_idx):
        return super().training_step([batch[0].as_subclass(Tagged), batch[1]], batch_idx)

    def validation_step(self, batch, batch_idx):
        return super().validation_step([batch[0].as_subclass(Tagged), batch[1]], batch_idx)


@pytest.mark.parametrize(("rung", "monitor"), [("LighterModule", "val/loss/epoch"), ("plain", "val/loss")])
@pytest.mark.parametrize("in_background", [False, True])
def test_no_class_of_a_tensor_gets_into_a_checkpoint(
    rung: str, monitor: str, in_background: bool, tmp_path: Path
) -> None:
    errors = {"train_metrics": MeanSquaredError(), "val_metrics": MeanSquaredError()}
    module: Any = classifier(OfTagged, **errors) if rung == "LighterModule" else PlainOfTagged()
    stop = pl.callbacks.EarlyStopping(monitor)
    best = pl.callbacks.ModelCheckpoint(tmp_path / "best", monitor=monitor)
    within = pl.callbacks.ModelCheckpoint(tmp_path / "within", every_n_train_steps=3)
    options = {**QUIET, "enable_checkpointing": True, "callbacks": [stop, best, within], "log_every_n_steps": 1}
    run = lighter.Trainer(max_epochs=1, async_save=in_background, **options)
    run.fit(module, loader(0, 128), loader(300, 364))
    for saved in (best, within):
        content = torch.load(saved.best_model_path, weights_only=True)
        assert content["callbacks"]
    assert {type(value) for value in run.callback_metrics.values()} == {torch.Tensor}
