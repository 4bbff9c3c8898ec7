"""Runs from a config, through `Runner`: what is built, what is left behind, what goes wrong and how."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import yaml

from lighter import LighterDataModule, Runner, Trainer
from lighter.errors import CheckpointError, ConfigError
from lighter.files.run_folder import RunFolder, runs_of
from tests.jobs import Classifier, PlainClassifier, loader

STAGES = ("fit", "validate", "test", "predict")


def newest(root: str = "outputs", name: str = "run") -> RunFolder:
    return next(runs_of(Path(root), name))


def test_all_four_stages_from_one_config(config: dict[str, Any]) -> None:
    assert Runner().run("fit", [config]) is None
    [validated] = Runner().run("validate", [config], ckpt_path="best", verbose=False)
    assert validated["val/metrics/accuracy/epoch"] > 0.5
    [tested] = Runner().run("test", [config], ckpt_path="last", verbose=False)
    assert set(tested) == {"test/metrics/accuracy/epoch", "test/metrics/f1/epoch"}
    predictions = Runner().run("predict", [config], ckpt_path="best", return_predictions=True)
    assert [len(batch) for batch in predictions] == [32, 18]


def test_the_run_folder(config: dict[str, Any]) -> None:
    Runner().run("fit", [config, "trainer::max_epochs=1"])
    folder = newest()
    assert {path.name for path in folder.path.iterdir()} >= {"config.yaml", "metrics.csv", "run.log", "checkpoints"}
    assert {path.name for path in folder.checkpoints.iterdir()} == {"last.ckpt", "best.ckpt"}
    assert "max_epochs=1` reached" in folder.log.read_text()
    assert folder.log.read_text().strip().endswith("finished")
    header = folder.metrics.read_text().splitlines()[0]
    assert "train/loss/epoch" in header
    assert "val/metrics/f1/epoch" in header


def test_the_saved_config_runs_the_same_experiment_again(config: dict[str, Any]) -> None:
    Runner().run("fit", [config, "model::optimizer::lr=1e-2", "trainer::max_epochs=1"])
    first = newest()
    Runner().run("fit", [first.config, "run::name=again"])
    second = newest(name="again")
    weights = [torch.load(run.checkpoints / "last.ckpt", weights_only=True)["state_dict"] for run in (first, second)]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    assert first.config.read_text() == second.config.read_text().replace("run:\n  name: again\n", "")


def test_a_saved_config_belongs_to_the_same_experiment(config: dict[str, Any]) -> None:
    Runner().run("fit", [config, "trainer::max_epochs=1"])
    saved = newest().config
    Runner().run("test", [saved], ckpt_path="best", verbose=False)
    assert newest().path != saved.parent


def test_a_saved_config_means_the_checkpoints_of_its_run(config: dict[str, Any]) -> None:
    def tested(config_: Any) -> Path:
        Runner().run("test", [config_], ckpt_path="best", verbose=False)
        return Path(json.loads(newest().record.read_text())["checkpoint"]).resolve()

    def best(run: RunFolder) -> Path:
        return (run.checkpoints / "best.ckpt").resolve()

    short = [config, "trainer::max_epochs=1", "trainer::limit_train_batches=2"]
    Runner().run("fit", short)
    first = newest()
    Runner().run("fit", short)
    second = newest()
    assert tested(first.config) == best(first)
    # that of a test has none, and means its name, as a file of the user's does
    assert tested(newest().config) == best(second)
    assert tested(config) == best(second)


def test_the_config_is_in_the_checkpoint_and_with_the_logger(config: dict[str, Any]) -> None:
    Runner().run("fit", [config, "trainer::max_epochs=1"])
    folder = newest()
    saved = torch.load(folder.checkpoints / "last.ckpt", weights_only=True)["hyper_parameters"]
    assert saved["config"]["model"]["optimizer"]["lr"] == 0.01
    assert yaml.safe_load((folder.path / "hparams.yaml").read_text())["config"]["trainer"]["max_epochs"] == 1


def test_a_plain_lightning_module_loads_from_its_checkpoint(config: dict[str, Any]) -> None:
    config["model"] = {"_target_": "tests.jobs.PlainClassifier", "lr": 0.02}
    Runner().run("fit", [config, "trainer::max_epochs=1"])
    path = newest().checkpoints / "last.ckpt"
    assert PlainClassifier.load_from_checkpoint(path, weights_only=True).hparams.lr == 0.02
    assert PlainClassifier.load_from_checkpoint(path, lr=0.3, weights_only=True).hparams.lr == 0.3


class WithConfig(PlainClassifier):
    """Has an argument that is called as ours might be."""

    def __init__(self, config: Any = None) -> None:
        super().__init__()
        self.config = config


def test_the_saved_config_is_not_taken_for_an_argument(config: dict[str, Any]) -> None:
    config["model"] = {"_target_": "tests.engine.test_runner.WithConfig"}
    Runner().run("fit", [config, "trainer::max_epochs=1"])
    path = newest().checkpoints / "last.ckpt"
    assert WithConfig.load_from_checkpoint(path, weights_only=True).config is None
    saved = torch.load(path, weights_only=True)["hyper_parameters"]
    assert saved["lighter_config"]["trainer"]["max_epochs"] == 1


def test_runs_equal_plain_lightning(config: dict[str, Any]) -> None:
    config["model"] = {"_target_": "tests.jobs.PlainClassifier"}
    Runner().run("fit", [config, "trainer::exact_resume=false"])
    saved = torch.load(newest().checkpoints / "last.ckpt", weights_only=True)["state_dict"]
    pl.seed_everything(3, workers=True, verbose=False)
    module = PlainClassifier()
    trainer = pl.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=5,
    )
    trainer.fit(module, loader(0, 320, shuffle=True), loader(320, 390))
    for name, value in module.state_dict().items():
        assert torch.equal(value, saved[name]), name


@pytest.mark.parametrize("stage", STAGES)
def test_each_stage_builds_only_what_it_needs(config: dict[str, Any], stage: str) -> None:
    """Everything that the stage does not need is replaced by a target that does not exist."""
    bomb = {"_target_": "not.there"}
    unneeded = {
        "fit": ["model::test_metrics", "data::test_dataloader", "data::predict_dataloader"],
        "validate": ["model::train_metrics", "model::test_metrics", "model::optimizer", "data::train_dataloader"],
        "test": ["model::val_metrics", "model::optimizer", "model::criterion", "data::val_dataloader"],
        "predict": ["model::test_metrics", "model::optimizer", "model::criterion", "data::test_dataloader"],
    }[stage]
    for path in unneeded:
        section, key = path.split("::")
        config[section][key] = bomb
    Runner().run(stage, [config, "trainer::fast_dev_run=true"])


def test_a_required_argument_is_none_where_the_stage_does_not_need_it(config: dict[str, Any]) -> None:
    config["model"]["_target_"] = "tests.engine.test_runner.Demanding"
    Runner().run("test", [config, "trainer::fast_dev_run=true"], verbose=False)


class Demanding(Classifier):
    def __init__(self, network, optimizer, **kwargs: Any) -> None:
        assert optimizer is None
        super().__init__(network, optimizer=optimizer, **kwargs)


def test_a_test_step_may_still_use_the_criterion(config: dict[str, Any]) -> None:
    """It is built when it is used, on the right device, with the weights that were trained."""
    config["model"]["_target_"] = "tests.engine.test_runner.UsesCriterion"
    config["model"]["criterion"] = {"_target_": "tests.engine.test_runner.LearnedScale"}
    Runner().run("fit", [config])
    trained = torch.load(newest().checkpoints / "last.ckpt", weights_only=True)["state_dict"]["criterion.scale"]
    assert trained != 1
    [values] = Runner().run("test", [config], ckpt_path="last", verbose=False)
    assert "test/loss/epoch" in values
    assert UsesCriterion.scale == trained


class LearnedScale(torch.nn.CrossEntropyLoss):
    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, pred, target):
        return super().forward(pred * self.scale, target)


class UsesCriterion(Classifier):
    scale: Any = None

    def test_step(self, batch, batch_idx):
        loss = self.criterion(self(batch[0]), batch[1])
        UsesCriterion.scale = self.criterion.scale.detach()
        return loss


def test_args_of_a_stage_and_over_them_the_callers(config: dict[str, Any]) -> None:
    config["args"] = {"predict": {"return_predictions": True}}
    assert len(Runner().run("predict", [config])) == 2
    assert Runner().run("predict", [config], return_predictions=False) is None
    config["args"] = {"predict": {"retrun_predictions": True}}
    with pytest.raises(
        ConfigError, match=r"args::predict::retrun_predictions: .*no argument.*\n.*`return_predictions`"
    ):
        Runner().run("predict", [config])


def test_the_seed_is_set_before_anything_is_built(config: dict[str, Any]) -> None:
    config["trainer"] |= {"max_epochs": 0, "exact_resume": False}
    Runner().run("fit", [config, "run::name=a"])
    assert torch.initial_seed() == 3
    del config["seed"]
    Runner().run("fit", [config])
    assert torch.initial_seed() == 0
    assert yaml.safe_load(newest().config.read_text())["seed"] == 0


def test_a_project_by_its_marker_and_by_name(config: dict[str, Any], own_place: Path) -> None:
    module = "from tests.jobs import Classifier\nclass Mine(Classifier):\n    pass\n"
    for folder in (own_place, own_place / "elsewhere"):
        (folder / "nets").mkdir(parents=True)
        (folder / "nets" / "__init__.py").write_text("")
        (folder / "nets" / "mine.py").write_text(module + f"WHERE = {folder.name!r}\n")
    (own_place / "__lighter__.py").touch()
    config["model"]["_target_"] = "project.nets.mine.Mine"
    Runner().run("fit", [config, "trainer::fast_dev_run=true"])
    assert own_place.name == sys.modules["project.nets.mine"].WHERE
    (own_place / "configs").mkdir()
    (own_place / "configs" / "over.yaml").write_text("project: ../elsewhere\n")
    Runner().run("fit", [config, own_place / "configs" / "over.yaml", "trainer::fast_dev_run=true"])
    assert sys.modules["project.nets.mine"].WHERE == "elsewhere"
    saved = newest(name="over").config
    Runner().run("fit", [saved, "trainer::fast_dev_run=true"])  # it names the project by its full path
    assert sys.modules["project.nets.mine"].WHERE == "elsewhere"
    with pytest.raises(ConfigError, match=r"project: there is no folder .*/nowhere"):
        Runner().run("fit", [config, "project=nowhere"])


@pytest.mark.slow
@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_a_project_in_dataloader_workers(config: dict[str, Any], own_place: Path, context: str) -> None:
    (own_place / "__lighter__.py").touch()
    (own_place / "sets.py").write_text(
        "from torch.utils.data import Dataset\nfrom tests.jobs import digits\n"
        "class Mine(Dataset):\n"
        "    def __init__(self): self.base = digits(0, 64)\n"
        "    def __len__(self): return 64\n"
        "    def __getitem__(self, index): return self.base[index]\n"
    )
    loader = config["data"]["train_dataloader"]
    loader |= {"dataset": {"_target_": "project.sets.Mine"}, "num_workers": 1, "persistent_workers": True}
    loader["multiprocessing_context"] = context
    Runner().run("fit", [config, "trainer::max_epochs=1", "trainer::limit_val_batches=0"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"model": {"_target_": "torch.nn.Linear", "in_features": 1, "out_features": 1}},
            "`model` must be a LightningMod",
        ),
        ({"trainer": {"_target_": "collections.Counter"}}, "`trainer` must be a Trainer; found a collections.Counter"),
        ({"data": {"_target_": "collections.Counter"}}, "`data` must be a LightningDataModule; found a"),
        (
            {"trainer": {"max_epoch": 1}},
            r"trainer::max_epoch: the trainer: there is no argument `max_epoch`\n.*`max_epochs`",
        ),
        ({"data": None}, "`fit` needs a dataloader, and there is no `train_dataloader`"),
        (
            {"seed": "x", "trainer": {"max_epoch": 1}},
            r"seed: a seed is an integer [^$]*\n.*trainer::max_epoch: the trainer",
        ),
        ({"project": "nowhere", "seed": -1}, r"seed: a seed is an integer [^$]*\n.*project: there is no folder"),
        ({"modle": {}}, r"modle: this section is unknown\n  Did you mean `model`"),
        (
            {"model": {"_target_": "tests.jobs.Clasifier"}},
            r"`tests.jobs` has no `Clasifier`\n.*Did you mean `Classifier`",
        ),
        ({"model": {"_target_": "tests.nowhere.Net"}}, "`tests` has no `nowhere`"),
        (
            {"model": {"_target_": "tests.jobs.Classifier", "netwrok": 1}},
            r"there is no argument `netwrok`\n.*`network`",
        ),
        (
            {"model": {"_target_": "tests.jobs.Classifier"}},
            "model: tests.jobs.Classifier: the argument `network` is missing",
        ),
    ],
)
def test_what_is_wrong_with_a_config_is_said(config: dict[str, Any], change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Runner().run("fit", [{**config, **change}])
    assert not list(Path().glob("outputs/*/*"))


def test_metrics_of_the_wrong_kind(config: dict[str, Any]) -> None:
    config["model"]["val_metrics"] = {"accuracy": "f1"}
    with pytest.raises(ConfigError, match="val_metrics::accuracy: a metric is an object; found 'f1'"):
        Runner().run("fit", [config])
    config["model"]["val_metrics"] = {"accuracy": "$'f1'"}  # which is known when it is made
    message = r"model::val_metrics: `val_metrics` takes .* found a str among .*\n(.*\n)*.*MulticlassF1Score"
    with pytest.raises(ConfigError, match=message):
        Runner().run("fit", [config])


def test_a_stage_without_its_step(config: dict[str, Any]) -> None:
    config["model"] = {"_target_": "tests.engine.test_runner.TrainingOnly", "network": {"_target_": "tests.jobs.mlp"}}
    with pytest.raises(ConfigError, match="`test` needs a `test_step`, and TrainingOnly has none"):
        Runner().run("test", [config])


class TrainingOnly(Classifier):
    from lighter.parts.hooks import missing_hook

    test_step = missing_hook("test_step")


def test_a_users_error_stays_what_it_is_and_says_where(config: dict[str, Any]) -> None:
    config["model"]["network"] = {"_target_": "tests.engine.test_runner.failing", "width": 3}
    with pytest.raises(ZeroDivisionError) as caught:
        Runner().run("fit", [config])
    [note] = caught.value.__notes__
    assert note.startswith(
        "while `model::network` (Python) was made, calling tests.engine.test_runner.failing(width=3)"
    )


def failing(width: int) -> None:
    raise ZeroDivisionError(width / 0 if width == 0 else "no width is good")


def test_a_variant_is_found_by_its_name(config: dict[str, Any], own_place: Path) -> None:
    (own_place / "digits.yaml").write_text(yaml.safe_dump(config))
    (own_place / "short.yaml").write_text("trainer: {max_epochs: 1}")
    Runner().run("fit", ["digits.yaml", "short.yaml"])
    Runner().run("fit", ["digits.yaml", "short.yaml", "run::name=fast"])
    Runner().run("fit", ["digits.yaml", "run::name=trial", "trainer::fast_dev_run=true"])
    with pytest.raises(CheckpointError) as caught:
        Runner().run("test", ["digits.yaml"], ckpt_path="best")
    text = str(caught.value)
    assert text.startswith("there is no best checkpoint: there is no run of `digits` under outputs. A run is called")
    assert [line.split()[0] for line in text.splitlines()[1:]] == ["run::name=fast", "run::name=short"]
    Runner().run("test", ["digits.yaml", "run::name=short"], ckpt_path="best", verbose=False)


def test_checkpoints_that_cannot_be_used(config: dict[str, Any], own_place: Path) -> None:
    with pytest.raises(CheckpointError, match=r"there is no checkpoint nowhere\.ckpt"):
        Runner().run("test", [config], ckpt_path="nowhere.ckpt")
    with pytest.raises(
        CheckpointError, match=r"there is no best checkpoint: there is no run of `run` under outputs. Train first"
    ):
        Runner().run("test", [config], ckpt_path="best")
    (own_place / "torn.ckpt").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(CheckpointError, match=r"torn.ckpt is damaged: it ends at byte 16, too early"):
        Runner().run("test", [config], ckpt_path="torn.ckpt")
    torch.save({"state_dict": {}, "evil": Classifier}, own_place / "code.ckpt")
    with pytest.raises(CheckpointError, match=r"can run code.*--no-weights_only"):
        Runner().run("test", [config], ckpt_path="code.ckpt")
    Runner().run("fit", [config, "trainer::max_epochs=1"])
    config["model"]["network"] = {"_target_": "torch.nn.Linear", "in_features": 64, "out_features": 10}
    with pytest.raises(CheckpointError, match=r"(?s)best.ckpt does not fit this model.*Missing key.*network"):
        Runner().run("test", [config], ckpt_path="best")
    assert "nothing" not in newest().log.read_text()


def test_the_users_own_checkpoints_save_into_the_run(config: dict[str, Any]) -> None:
    config["trainer"]["callbacks"] = [
        {
            "_target_": "pytorch_lightning.callbacks.ModelCheckpoint",
            "monitor": "val/metrics/accuracy/epoch",
            "mode": "max",
            "filename": "mine",
        }
    ]
    Runner().run("fit", [config])
    assert [path.name for path in newest().checkpoints.iterdir()] == ["mine.ckpt"]


def test_an_unknown_stage(config: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="`train` is no stage"):
        Runner().run("train", [config])


def test_a_project_does_not_leak_into_the_next_run(config: dict[str, Any], own_place: Path) -> None:
    (own_place / "code").mkdir()
    (own_place / "code" / "nets.py").write_text("from tests.jobs import Classifier\n")
    config["model"]["_target_"] = "project.nets.Classifier"
    Runner().run("fit", [{**config, "project": "code"}, "trainer::fast_dev_run=true"])
    with pytest.raises(ConfigError, match=r"`project.nets.Classifier` cannot be imported"):
        Runner().run("fit", [config])


def test_a_place_where_no_run_can_be(config: dict[str, Any], own_place: Path) -> None:
    (own_place / "taken").touch()
    with pytest.raises(ConfigError, match="run::dir: no run folder can be made under taken"):
        Runner().run("fit", [config, "run::dir=taken"])


def test_parts_by_reference_are_treated_like_those_in_place(config: dict[str, Any]) -> None:
    config["vars"] |= {"trainer": config.pop("trainer"), "sgd": {"_target_": "torch.optim.SGD", "lr": 0.1}}
    config["vars"]["trainer"] |= {"_target_": "lighter.Trainer", "max_epochs": 1}
    config |= {"trainer": "@vars::trainer"}
    config["model"]["optimizer"] = "@vars::sgd"
    Runner().run("fit", [config])
    assert (newest().checkpoints / "last.ckpt").is_file()
    assert not Path("checkpoints").exists()


class Trained(PlainClassifier):
    """A module that tells how many steps it has trained."""

    steps = 0

    def on_train_batch_end(self, *args: Any) -> None:
        self.steps += 1


def test_inputs_as_people_pass_them(config: dict[str, Any], own_place: Path) -> None:
    file = own_place / "c.yaml"
    file.write_text(yaml.dump(config))
    short = {"trainer": {"fast_dev_run": True}}
    for inputs in ("c.yaml", file, config):
        assert Runner().execute("fit", inputs).trainer.current_epoch == 2
    for several in ((file, short), iter([file, short]), [config, short, "seed=4"]):
        assert Runner().execute("fit", several).trainer.fast_dev_run == 1
    for wrong in (3, [file, 3], [[file]], None):
        with pytest.raises(ConfigError, match="an input is a path, a dict or an override; found"):
            Runner().run("fit", wrong)


@pytest.mark.parametrize("way", ["sections", "arguments", "over a file", "all three", "loaders"])
def test_ready_objects_are_what_runs(way: str, config: dict[str, Any], own_place: Path) -> None:
    file = own_place / "c.yaml"
    file.write_text(yaml.dump(config))
    module = Trained()
    data = LighterDataModule(train_dataloader=loader(0, 64), val_dataloader=loader(64, 96))
    rest = {key: config[key] for key in ("seed", "trainer")}
    inputs: Any = {
        "sections": {**rest, "model": module, "data": data},
        "arguments": rest,
        "over a file": [file, {"model": module, "data": data}],
        "all three": {"model": module, "data": data, "trainer": Trainer(max_epochs=2, accelerator="cpu")},
        "loaders": {**rest, "model": module},
    }[way]
    loaders = {"train_dataloaders": loader(0, 64), "val_dataloaders": loader(64, 96)}
    more = {"arguments": {"model": module, "datamodule": data}, "loaders": loaders}.get(way, {})
    run = Runner().execute("fit", inputs, **more)
    assert module.steps == 2 * len(loaders["train_dataloaders"])
    assert run.trainer.lightning_module is module
    assert "not saved" in (run.folder.path / "config.yaml").read_text()
    if way == "loaders":
        [tested] = Runner().run("test", {**rest, "model": module}, dataloaders=loader(0, 64), verbose=False)
        assert tested


def test_loaders_beside_the_data_of_the_config(config: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"`train_dataloaders` is given beside it\n.*Leave one of them out"):
        Runner().run("fit", config, train_dataloaders=loader(0, 64))


def test_a_config_with_lightnings_own_trainer_gets_one_line(
    config: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    for target, count in (("pytorch_lightning.Trainer", 1), ("lightning.pytorch.Trainer", 1), ("lighter.Trainer", 0)):
        caplog.clear()
        Runner().run("fit", [config, f"trainer::_target_={target}", "trainer::fast_dev_run=true"])
        lines = [record.message for record in caplog.records if "trainer::_target_=lighter.Trainer" in record.message]
        assert len(lines) == count
    trainer = pl.Trainer(fast_dev_run=True, accelerator="cpu", enable_progress_bar=False)
    caplog.clear()
    Runner().run("fit", {**config, "trainer": trainer})  # which no override could change
    assert "trainer::_target_" not in caplog.text
