"""The measurement contract (what every logged number must be), on Lightning's own trainer, against plain Lightning."""

from __future__ import annotations

import copy
import csv
import math
import pickle
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.loops.optimization.automatic import Closure
from torch import nn
from torch.utils.data import DataLoader
from torchmetrics import MeanMetric, Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy
from torchmetrics.wrappers import ClasswiseWrapper

import lighter
from lighter.errors import ModuleValueError
from tests.jobs import QUIET, Classifier, PlainClassifier, digits, loader, metrics, mlp


def trainer(**kwargs: Any) -> pl.Trainer:
    return pl.Trainer(**{**QUIET, "max_epochs": 3, "log_every_n_steps": 4, **kwargs})


def classifier(kind: type[lighter.LighterModule] = Classifier, **kwargs: Any) -> lighter.LighterModule:
    pl.seed_everything(5, verbose=False)
    given = {"train_metrics": metrics(), "val_metrics": metrics(), "test_metrics": metrics(), **kwargs}
    adam = lambda params: torch.optim.Adam(params, lr=0.01)  # noqa: E731
    return kind(mlp(), nn.CrossEntropyLoss(), optimizer=adam, **given)


def fit(module: pl.LightningModule, runs: pl.Trainer, train: int = 300, **kwargs: Any) -> pl.Trainer:
    pl.seed_everything(6, verbose=False)
    runs.fit(module, loader(0, train, shuffle=True), kwargs.get("val", loader(300, 390)))
    return runs


def epoch_values(runs: pl.Trainer) -> dict[str, float]:
    return {name: float(value) for name, value in runs.callback_metrics.items()}


@pytest.mark.parametrize("kind", [pl.Trainer, lighter.Trainer])
def test_a_step_called_by_hand_is_not_measured(kind: type[pl.Trainer], csv_logger: CSVLogger) -> None:
    """After a fit, and by a callback while another mode runs."""

    class Calls(Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            pl_module.validation_step(batch, batch_idx)

    module = classifier()
    runs = kind(**{**QUIET, "max_epochs": 1, "logger": csv_logger, "callbacks": [Calls()]})
    fit(module, runs)
    before = epoch_values(runs)
    batch = next(iter(loader(0, 32)))
    for step in (module.training_step, module.validation_step, module.test_step):
        output = step(batch, 0)
        assert output is not None
    assert epoch_values(runs) == before
    assert module.steps_seen == {"train/0": 10, "val/0": 3}


@pytest.fixture
def csv_logger(tmp_path: Path) -> CSVLogger:
    return CSVLogger(tmp_path, name="", version="csv")


def rows(logger: CSVLogger) -> list[dict[str, str]]:
    logger.save()
    with open(Path(logger.log_dir) / "metrics.csv") as file:
        return list(csv.DictReader(file))


def column(logger: CSVLogger, name: str) -> list[float]:
    return [float(row[name]) for row in rows(logger) if row.get(name)]


def test_same_weights_and_same_epoch_values_as_plain_lightning(csv_logger: CSVLogger, tmp_path: Path) -> None:
    pl.seed_everything(5, verbose=False)
    plain = PlainClassifier()
    reference = fit(plain, trainer(logger=CSVLogger(tmp_path, name="", version="plain")))
    ours = classifier()
    ours.network.load_state_dict(mlp_of(5))
    run = fit(ours, trainer(logger=csv_logger))
    for name, weight in plain.network.state_dict().items():
        assert torch.equal(weight, ours.network.state_dict()[name]), name
    values, expected = epoch_values(run), epoch_values(reference)
    assert values["train/loss/epoch"] == expected["train/loss_epoch"]
    assert values["val/loss/epoch"] == expected["val/loss"]
    for metric in ("accuracy", "f1"):
        assert values[f"train/metrics/{metric}/epoch"] == expected[f"train/{metric}_epoch"]
        assert values[f"val/metrics/{metric}/epoch"] == expected[f"val/{metric}"]


def mlp_of(seed: int) -> dict[str, torch.Tensor]:
    pl.seed_everything(seed, verbose=False)
    return mlp().state_dict()


def test_logging_off_gives_the_same_weights_bit_for_bit(csv_logger: CSVLogger) -> None:
    logged = classifier()
    fit(logged, trainer(logger=csv_logger, log_every_n_steps=1))
    silent = classifier(train_metrics=None, val_metrics=None, test_metrics=None)
    fit(silent, trainer(logger=False))
    for name, weight in logged.network.state_dict().items():
        assert torch.equal(weight, silent.network.state_dict()[name]), name


def test_epoch_loss_is_the_mean_over_samples() -> None:
    """The last batch is smaller: 70 = 32 + 32 + 6."""
    module = classifier()
    run = trainer()
    run.validate(module, loader(320, 390), verbose=False)
    x, y = digits(320, 390).tensors
    with torch.no_grad():
        expected = nn.functional.cross_entropy(module(x), y)
    assert epoch_values(run)["val/loss/epoch"] == pytest.approx(float(expected), rel=1e-6)


def test_training_loss_is_what_the_step_returned_however_many_batches_accumulate(csv_logger: CSVLogger) -> None:
    returned: list[float] = []

    class Recording(Classifier):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            returned.append(float(loss.detach()))
            return loss

    module = classifier(Recording)
    run = fit(module, trainer(max_epochs=1, accumulate_grad_batches=3, logger=csv_logger, log_every_n_steps=1), 320)
    assert epoch_values(run)["train/loss/epoch"] == pytest.approx(sum(returned) / len(returned), rel=1e-6)
    assert column(csv_logger, "train/loss/step") == pytest.approx([returned[i] for i in (2, 5, 8, 9)], rel=1e-6)


def test_a_step_that_returns_none_adds_nothing() -> None:
    class Skipping(Classifier):
        def validation_step(self, batch, batch_idx):
            return None if batch_idx == 1 else super().validation_step(batch, batch_idx)

    module = classifier(Skipping, val_metrics=None)
    run = trainer()
    run.validate(module, loader(320, 390), verbose=False)
    x, y = digits(320, 390).tensors
    keep = [*range(32), *range(64, 70)]
    with torch.no_grad():
        expected = nn.functional.cross_entropy(module(x[keep]), y[keep])
    assert epoch_values(run)["val/loss/epoch"] == pytest.approx(float(expected), rel=1e-6)


def test_a_training_step_that_always_returns_none_logs_no_loss() -> None:
    class Skipping(Classifier):
        def training_step(self, batch, batch_idx):
            self.train_metrics(self(batch[0]), batch[1])

    run = trainer(max_epochs=1)
    Closure.warning_cache.clear()  # it warns once a process
    with pytest.warns(UserWarning, match="returned `None`"):
        fit(classifier(Skipping), run)
    assert "train/loss/epoch" not in run.callback_metrics
    assert "train/metrics/accuracy/epoch" in run.callback_metrics


def test_metrics_restart_every_epoch_every_call_and_after_the_sanity_check() -> None:
    updates: list[int] = []

    class Counting(MeanMetric):
        def compute(self):
            updates.append(int(self.weight))
            return super().compute()

    class Module(Classifier):
        def validation_step(self, batch, batch_idx):
            self.val_metrics.update(batch[1])

    module = classifier(Module, val_metrics=Counting())
    run = fit(module, trainer(max_epochs=2, num_sanity_val_steps=1))
    assert updates[-2:] == [90, 90]
    updates.clear()
    for _ in range(2):
        run.validate(module, loader(320, 390), verbose=False)
    assert updates[-1] == 70
    assert set(updates) <= {70, 32}


def test_update_gives_the_same_epoch_value_as_a_call() -> None:
    class Updating(Classifier):
        def validation_step(self, batch, batch_idx):
            pred = self(batch[0])
            self.val_metrics.update(pred, batch[1])
            return self.criterion(pred, batch[1])

    values = []
    for kind in (Classifier, Updating):
        run = trainer()
        run.validate(classifier(kind), loader(320, 390), verbose=False)
        values.append({name: value for name, value in epoch_values(run).items() if name.endswith("epoch")})
    assert values[0] == values[1]
    assert len(values[0]) == 3


def test_the_values_a_call_returns_are_right_on_every_step() -> None:
    """Whether the step's values are logged or not, a user who looks at them finds the batch's."""
    seen: list[tuple[float, float, float]] = []

    class Looking(Classifier):
        def training_step(self, batch, batch_idx):
            x, y = batch
            pred = self(x)
            values = self.train_metrics(pred, y)
            expected = (pred.argmax(dim=1) == y).float().mean()
            seen.append((float(values["accuracy"]), float(expected), len(values)))
            return self.criterion(pred, y)

    run = fit(classifier(Looking), trainer(log_every_n_steps=4))
    assert all(found == pytest.approx(expected) and size == 2 for found, expected, size in seen)
    assert len(seen) == 30
    assert 0 < float(run.callback_metrics["train/metrics/accuracy/epoch"]) < 1


def test_a_single_metric_returns_a_tensor_that_can_be_used_in_any_way() -> None:
    seen: list[float] = []

    class Looking(Classifier):
        def training_step(self, batch, batch_idx):
            x, y = batch
            pred = self(x)
            value = self.train_metrics(pred, y)
            assert isinstance(value, torch.Tensor)
            assert torch.stack([value, value]).sum().item() == pytest.approx(2 * float(value))
            assert f"{value:.3f}" == f"{value.item():.3f}"
            seen.append(float(1 - value) + (pred.argmax(dim=1) == y).float().mean().item())
            return {"loss": self.criterion(pred, y), "accuracy": value}

    module = classifier(Looking, train_metrics=MulticlassAccuracy(10, average="micro"))
    run = fit(module, trainer(max_epochs=1))
    assert seen == pytest.approx([1.0] * 10)
    assert "train/metrics/MulticlassAccuracy/epoch" in run.callback_metrics


def test_names_in_the_logger(csv_logger: CSVLogger) -> None:
    module = classifier()
    run = fit(module, trainer(logger=csv_logger, max_epochs=2))
    names = set(rows(csv_logger)[0])
    for mode in ("train", "val"):
        for value in ("loss", "metrics/accuracy", "metrics/f1"):
            assert {f"{mode}/{value}/step", f"{mode}/{value}/epoch"} <= names
    assert {f"train/optimizer/Adam/{stat}/epoch" for stat in ("lr", "beta1", "beta2", "weight_decay")} <= names
    assert "train/lr" in names
    assert len(column(csv_logger, "train/lr")) == run.current_epoch == 2
    assert column(csv_logger, "train/lr") == [0.01, 0.01]


def test_step_rows_stand_at_the_steps_that_lightning_logs(csv_logger: CSVLogger) -> None:
    fit(classifier(), trainer(logger=csv_logger, max_epochs=2, log_every_n_steps=4))
    steps = [int(row["step"]) for row in rows(csv_logger) if row.get("train/loss/step")]
    assert steps == [3, 7, 11, 15, 19]


def test_named_losses(csv_logger: CSVLogger) -> None:
    class TwoLosses(Classifier):
        def training_step(self, batch, batch_idx):
            pred = self(batch[0])
            ce, reg = self.criterion(pred, batch[1]), pred.square().mean()
            return {"loss": {"total": ce + 0.1 * reg, "ce": ce, "reg": reg}, "pred": pred}

    class Watching(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            assert outputs["loss"].ndim == 0
            assert set(outputs["losses"]) == {"total", "ce", "reg"}
            assert outputs["pred"].shape == (len(batch[0]), 10)

    run = fit(classifier(TwoLosses), trainer(logger=csv_logger, callbacks=[Watching()]))
    values = epoch_values(run)
    assert {"train/loss/total/epoch", "train/loss/ce/epoch", "train/loss/reg/epoch"} <= set(values)
    assert "train/loss/epoch" not in values
    total = values["train/loss/ce/epoch"] + 0.1 * values["train/loss/reg/epoch"]
    assert values["train/loss/total/epoch"] == pytest.approx(total, rel=1e-5)
    assert values["train/loss/total/epoch"] < 2.3  # it learned


def test_a_callback_finds_the_epoch_values_in_its_end_of_epoch_hooks() -> None:
    found: dict[str, list[bool]] = {"train": [], "val": []}

    class Looking(Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            found["train"].append("train/loss/epoch" in trainer.callback_metrics)

        def on_validation_epoch_end(self, trainer, pl_module):
            if not trainer.sanity_checking:
                found["val"].append("val/metrics/f1/epoch" in trainer.callback_metrics)

    fit(classifier(), trainer(callbacks=[Looking()]))
    assert found == {"train": [True] * 3, "val": [True] * 3}


def test_monitors_work_without_a_logger(tmp_path: Path) -> None:
    stop = EarlyStopping("val/metrics/accuracy/epoch", mode="max", patience=0, min_delta=2.0)
    best = ModelCheckpoint(tmp_path, monitor="val/loss/epoch", save_top_k=1)
    run = fit(classifier(), trainer(max_epochs=5, callbacks=[stop, best], enable_checkpointing=True))
    assert run.current_epoch == 2
    assert float(best.best_model_score) == pytest.approx(epoch_values(run)["val/loss/epoch"])


def test_several_dataloaders_have_metric_states_of_their_own(csv_logger: CSVLogger) -> None:
    class Several(Classifier):
        def validation_step(self, batch, batch_idx, dataloader_idx=0):
            return super().validation_step(batch, batch_idx)

    module = classifier(Several)
    run = trainer(logger=csv_logger)
    both = run.validate(module, [loader(320, 350), loader(350, 390)], verbose=False)
    for index, (start, end) in enumerate([(320, 350), (350, 390)]):
        alone = trainer()
        [expected] = alone.validate(module, loader(start, end), verbose=False)
        for name, value in expected.items():
            assert both[index][f"{name}/dataloader_idx_{index}"] == pytest.approx(value), name
    assert "val/loss/step/dataloader_idx_1" in rows(csv_logger)[0]


def test_user_logging_stands_beside_ours(csv_logger: CSVLogger) -> None:
    class Logging(Classifier):
        def training_step(self, batch, batch_idx):
            self.log("mine", float(batch_idx), on_step=True, on_epoch=True)
            return super().training_step(batch, batch_idx)

    run = fit(classifier(Logging), trainer(logger=csv_logger, max_epochs=1))
    assert epoch_values(run)["mine_epoch"] == pytest.approx(sum(i * 32 for i in range(9)) / 300 + 9 * 12 / 300)
    assert "mine_step" in rows(csv_logger)[0]


def test_metrics_that_return_several_values_are_logged_by_their_keys() -> None:
    classwise = ClasswiseWrapper(MulticlassAccuracy(10, average=None), labels=[f"d{i}" for i in range(10)])
    run = fit(classifier(train_metrics=classwise), trainer(max_epochs=1))
    names = {name for name in run.callback_metrics if name.startswith("train/metrics/")}
    assert len(names) == 10
    assert all(name.endswith("/epoch") for name in names)


def test_a_value_for_each_class_is_logged_by_its_index() -> None:
    module = classifier(val_metrics=MulticlassAccuracy(10, average=None))
    [values] = trainer().validate(module, loader(320, 390), verbose=False)
    names = [f"val/metrics/MulticlassAccuracy_{number}/epoch" for number in range(10)]
    assert [name for name in values if "Accuracy" in name] == names


class Text(Metric):
    def update(self, preds: Any, target: Any) -> None: ...

    def compute(self) -> Any:
        return "good"


def test_a_metric_without_numbers_fails_at_the_first_batch() -> None:
    class Counts(Classifier):
        batches = 0

        def validation_step(self, batch: Any, batch_idx: int) -> Any:
            self.batches += 1
            return super().validation_step(batch, batch_idx)

    module = classifier(Counts, val_metrics={"text": Text()})
    with pytest.raises(ModuleValueError, match=r"`text` gives a str; a metric gives numbers, tensors or arrays"):
        trainer().validate(module, loader(320, 440), verbose=False)
    assert module.batches == 1


def test_a_copy_of_a_module_that_ran_measures_itself() -> None:
    module = classifier()
    fit(module, trainer(max_epochs=1))
    module.optimizer = None  # made by a lambda, which cannot be pickled
    pickle.loads(pickle.dumps(module))
    copied = copy.deepcopy(module)
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.zero_()
    [values] = trainer().validate(copied, loader(320, 390), verbose=False)
    assert values["val/loss/epoch"] == pytest.approx(math.log(10), rel=1e-6)


class Graphs:
    """A batch of a type of its own."""

    def __init__(self, samples: list[Any]) -> None:
        self.x, self.y = (torch.stack(part) for part in zip(*samples, strict=True))


def test_batches_of_unknown_size_say_so_and_can_be_counted() -> None:
    class OnGraphs(Classifier):
        def validation_step(self, batch, batch_idx):
            return self.criterion(self(batch.x), batch.y)

        def transfer_batch_to_device(self, batch, device, dataloader_idx):
            return batch

    class Counting(OnGraphs):
        def count_samples(self, batch):
            return len(batch.y)

    graphs = DataLoader(digits(320, 390), batch_size=32, collate_fn=Graphs)
    with pytest.warns(UserWarning, match=r"the number of samples in a Graphs.* cannot be told.*count_samples"):
        trainer().validate(classifier(OnGraphs), graphs, verbose=False)
    module = classifier(Counting)
    [values] = trainer().validate(module, graphs, verbose=False)
    x, y = digits(320, 390).tensors
    with torch.no_grad():
        assert values["val/loss/epoch"] == pytest.approx(float(nn.functional.cross_entropy(module(x), y)), rel=1e-6)


def test_metrics_that_the_user_resets_before_the_end_are_missed_aloud() -> None:
    class Resetting(Classifier):
        def on_train_epoch_end(self):
            self.train_metrics.reset()

    with pytest.warns(UserWarning, match="the metrics were reset before the epoch's end"):
        fit(classifier(Resetting), trainer(max_epochs=1))


@pytest.mark.parametrize("several", [False, True])
def test_metrics_are_logged_by_the_user_in_a_measured_step(several: bool) -> None:
    class Logging(Classifier):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            if isinstance(self.train_metrics, MetricCollection):
                self.log_dict(self.train_metrics, on_epoch=True)
            else:
                assert isinstance(self.train_metrics, MulticlassAccuracy)
                self.log("accuracy", self.train_metrics, on_epoch=True)
            return loss

    given = metrics() if several else MulticlassAccuracy(10, average="micro")
    values = epoch_values(fit(classifier(Logging, train_metrics=given), trainer(max_epochs=1)))
    ours = "accuracy" if several else "MulticlassAccuracy"
    assert values["accuracy_epoch"] == values[f"train/metrics/{ours}/epoch"] > 0
