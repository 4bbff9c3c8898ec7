"""The learning rate finder and the batch size finder, beside Lightning's own."""

from __future__ import annotations

import csv
import gc
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.tuner import Tuner
from pytorch_lightning.tuner.lr_finder import _LRFinder

from lighter import Runner
from lighter.config import read
from lighter.engine.tuning import find_batch_size, find_lr, plot, steepest, written_at
from lighter.errors import ConfigError
from tests.jobs import Classifier, loader
from tests.lightning import jobs
from tests.lightning.compare import config_of
from tests.lightning.rungs import RUNGS, experiment

FORTY = {"num_training": 40}
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*upcoming version of PyTorch Lightning"),
    pytest.mark.filterwarnings("ignore:You passed in a `val_dataloader` but have no"),
]


@pytest.fixture(autouse=True, scope="module")
def little_garbage():
    """Lightning collects garbage before each trial; it need not look through all that the tests before have left."""
    gc.collect()
    gc.freeze()


def by_lightning() -> Any:
    """The same as the experiment of every rung, in plain Lightning."""
    pl.seed_everything(5, workers=True, verbose=False)
    module = jobs.AllSteps()
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_model_summary"), False)
    trainer = pl.Trainer(accelerator="cpu", max_epochs=-1, check_val_every_n_epoch=1000, **quiet)
    return Tuner(trainer).lr_find(module, datamodule=jobs.Digits(), update_attr=False, **FORTY)


@pytest.mark.parametrize("rung", RUNGS)
def test_the_curve_is_lightnings(rung):
    wanted = by_lightning()
    found = find_lr([experiment(rung)], **FORTY)
    assert [lr for lr, _ in found.curve] == wanted.results["lr"]
    assert [loss for _, loss in found.curve] == wanted.results["loss"]
    assert 0.01 < found.lr < 1
    assert 1.0 < found.curve[0][1] < 1.3  # Lightning's smoothing halves the first, some log(10) of ten classes
    assert (
        found.key
        == {
            "plain": None,
            "steps": "model::optimizer::lr",
            "forward": "model::optimizer::lr",
            "system": "system::optimizer::lr",
        }[rung]
    )


def test_what_only_lighters_trainer_takes_is_left_out():
    assert find_lr([experiment("steps"), "trainer::on_non_finite=skip"], **FORTY).key == "model::optimizer::lr"


def test_the_steepest_place_is_not_the_noisiest():
    """A flat loss with noise of a thousandth, and then a fall by two within a factor of ten."""
    rates = [10 ** (-8 + 8 * step / 99) for step in range(100)]
    curve = [(lr, 2.3 + 0.001 * (-1) ** step - 2 / (1 + 0.01 / lr)) for step, lr in enumerate(rates)]
    by_hand = _LRFinder("exponential", 1e-8, 1.0, 100)
    by_hand.results = {"lr": rates, "loss": [loss for _, loss in curve]}
    assert by_hand.suggestion() < 1e-6, "Lightning's own: if this fails, it is mended, and `steepest` can go"
    assert steepest(curve) == pytest.approx(0.01, rel=0.5)
    assert steepest(curve[:12]) is None
    assert steepest([(lr, float("nan")) for lr, _ in curve]) is None


def test_what_is_left_behind(own_place):
    found = find_lr([experiment("steps")], **FORTY)
    assert found.folder.path.name.endswith("run-tune-lr")
    with open(found.folder.lr_curve, encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["lr", "loss"]
    assert len(rows) == 41
    assert {path.name for path in found.folder.path.iterdir()} == {"config.yaml", "lr.csv", "run.log"}
    assert not (own_place / "lightning_logs").exists()


def test_the_plot_is_a_picture():
    pytest.importorskip("matplotlib")
    from PIL import Image

    found = find_lr([experiment("steps")], **FORTY)
    with Image.open(plot(found)) as picture:
        assert picture.size == (840, 540)
        assert len(picture.convert("RGB").getcolors(maxcolors=1_000_000)) > 10


@pytest.mark.parametrize(
    ("config", "path", "key"),
    [
        ({"model": {"optimizer": {"lr": 1}}}, "model::optimizer::lr", "model::optimizer::lr"),
        ({"model": {"optimizer": {"lr": "@vars::lr"}}, "vars": {"lr": 1}}, "model::optimizer::lr", "vars::lr"),
        ({"model": {"optimizer": "%vars::o"}, "vars": {"o": {"lr": 1}}}, "model::optimizer::lr", "vars::o::lr"),
        ({"model": {"optimizer": {"_target_": "x"}}}, "model::optimizer::lr", "model::optimizer::lr"),
        ({"model": {"optimizer": [{"lr": 1}]}}, "model::optimizer::0::lr", "model::optimizer::0::lr"),
    ],
)
def test_where_a_value_is_written(config, path, key):
    from lighter.config.load import load

    assert written_at(load([config]), path) == key


def test_the_value_can_be_pasted(own_place):
    config = experiment("steps")
    config["vars"] = {"rate": 0.05}
    config["model"]["optimizer"]["lr"] = "@vars::rate"
    found = find_lr([config], **FORTY)
    assert found.key == "vars::rate"
    assert read([config, f"{found.key}={found.lr}"]).objects().get("vars::rate") == found.lr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: {_target_: tests.lightning.jobs.Gan}", "Gan optimizes by hand"),
        ("model: {_target_: tests.lightning.jobs.Exploding}", "no learning rate stands out"),
    ],
)
def test_where_there_is_no_learning_rate_to_find(text, message, own_place):
    with pytest.raises(ConfigError, match=message):
        find_lr([config_of(text)], **FORTY)
    assert not list(own_place.glob("outputs/*/*"))


class Small(Classifier):
    """Memory for batches of up to 40."""

    def training_step(self, batch, batch_idx):
        if len(batch[0]) > 40:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return self.criterion(self(batch[0]), batch[1])


def loaders(config: dict[str, Any]) -> dict[str, Any]:
    config["model"]["_target_"] = "tests.engine.test_tuning.Small"
    return config


@pytest.mark.parametrize(("mode", "expected"), [("power", 32), ("binsearch", 38)])  # 40, less Lightning's margin
def test_the_largest_batch_that_fits(config, mode, expected):
    found = find_batch_size([loaders(config)], mode=mode, init_val=16)
    assert found.batch_size == expected
    assert found.key == "data::train_dataloader::batch_size"


def test_the_batch_size_of_a_system():
    found = find_batch_size([experiment("system")], init_val=16, max_val=64)
    assert found.key == "system::dataloaders::train::batch_size"
    assert found.batch_size == 64


def test_the_batch_size_of_a_data_module_and_of_all_that_refers_to_it():
    config = experiment("plain")
    config["data"] = {"_target_": "tests.lightning.jobs.Digits", "batch_size": "@vars::size"}
    config["vars"] = {"size": 16}
    found = find_batch_size([config], init_val=32)
    assert (found.key, found.batch_size, found.samples) == ("vars::size", 128, 96)  # all 96 fit


def test_no_batch_size_anywhere():
    config = experiment("plain")
    config["model"]["_target_"], config["data"] = "tests.lightning.jobs.OwnLoaders", None
    with pytest.raises(ConfigError, match="no `batch_size` where it is looked for"):
        find_batch_size([config])


def test_nothing_is_written(config, own_place: Path):
    find_batch_size([loaders(config)], init_val=32)
    assert not list(own_place.iterdir())


def test_a_learning_rate_does_not_touch_the_model(config):
    """What was found is found in a copy: a fit afterwards is the fit without."""

    def weights() -> dict[str, torch.Tensor]:
        return Runner().execute("fit", [config]).trainer.lightning_module.state_dict()

    before = weights()
    find_lr([config], **FORTY)
    after = weights()
    assert all(torch.equal(before[name], after[name]) for name in before)


class Scheduled(Classifier):
    """Makes its schedules of the trainer's limits, and saves its arguments, objects among them."""

    def __init__(self, network: Any, width: int = 3, **kwargs: Any) -> None:
        super().__init__(network, **kwargs)
        self.save_hyperparameters()
        self.limits: tuple[Any, ...] = ()

    def configure_optimizers(self) -> Any:
        optimizer = super().configure_optimizers()["optimizer"]
        steps = self.trainer.estimated_stepping_batches
        assert self.trainer.max_epochs == 2
        assert steps in (20, 640), "two epochs of batches of 32, or of 1 to begin with"
        one_cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=steps)
        return [optimizer], [{"scheduler": one_cycle, "interval": "step"}]


class SavesBatchSize(pl.LightningDataModule):
    """Has its batch size among the hyperparameters alone."""

    def __init__(self, batch_size: int) -> None:
        super().__init__()
        self.save_hyperparameters()

    def train_dataloader(self) -> Any:
        return loader(0, 320, self.hparams["batch_size"])

    def val_dataloader(self) -> Any:
        return loader(320, 352)


@pytest.fixture
def scheduled(config: dict[str, Any]) -> dict[str, Any]:
    config["model"]["_target_"] = f"{__name__}.Scheduled"
    config["trainer"]["max_epochs"] = 2
    return config


@pytest.mark.filterwarnings("ignore:Attribute '(network|.*_metrics|criterion)' is an instance of `nn.Module`")
def test_schedules_are_made_of_the_configs_limits_and_arguments_may_be_saved(scheduled: dict[str, Any]) -> None:
    found = find_lr([scheduled], num_training=40)
    assert len(found.curve) == 40, "in more steps than the fit has"
    size = find_batch_size([scheduled], init_val=32, max_trials=1, steps_per_trial=30)
    assert (size.batch_size, size.key) == (32, "data::train_dataloader::batch_size")


def test_a_batch_size_among_the_hyperparameters_of_a_data_module(config: dict[str, Any]) -> None:
    config["data"] = {"_target_": f"{__name__}.SavesBatchSize", "batch_size": 8}
    found = find_batch_size([config], max_trials=2)
    assert (found.batch_size, found.key) == (4, "data::batch_size")
