"""`data::split` on every rung: the same bits as by hand, on record, refused where it leaks or is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from click.testing import CliRunner
from sklearn.model_selection import StratifiedKFold
from torch.utils.data import DataLoader, Subset

import lighter
from lighter import LighterDataModule, Runner, Trainer
from lighter.cli import cli
from lighter.engine.tuning import find_batch_size
from lighter.errors import ConfigError
from lighter.files.run_folder import RunFolder, runs_of
from lighter.runs.read import read_run
from tests.engine import split_jobs as jobs

LOADER = {
    "_target_": "torch.utils.data.DataLoader",
    "dataset": {"_target_": "tests.engine.split_jobs.data"},
    "batch_size": 8,
    "shuffle": True,
}
PARTS = {
    "network": {"_target_": "tests.engine.split_jobs.network"},
    "criterion": {"_target_": "torch.nn.CrossEntropyLoss"},
    "optimizer": {"_target_": "torch.optim.SGD", "lr": 0.1},
}
QUIET = {
    "max_epochs": 2,
    "accelerator": "cpu",
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "log_every_n_steps": 1,
}
SPLIT = {"kind": "stratified", "n": 5, "fold": 2}
RUNGS = ("Plain", "Steps", "Forward")


def config(model: str = "Steps", split: Any = SPLIT, **loaders: Any) -> dict[str, Any]:
    parts = {} if model == "Plain" else PARTS
    if model == "Forward":
        parts = {"model" if key == "network" else key: part for key, part in PARTS.items()}
    return {
        "seed": 3,
        "model": {"_target_": f"tests.engine.split_jobs.{model}", **parts},
        "data": {
            "_target_": "lighter.LighterDataModule",
            "split": split,
            **(loaders or {"train_dataloader": LOADER}),
        },
        "trainer": dict(QUIET),
    }


def system(split: Any = SPLIT, **loaders: Any) -> dict[str, Any]:
    parts = {key: value for key, value in PARTS.items() if key != "network"}
    model = {"_target_": "lighter.System", "model": PARTS["network"], **parts}
    dataloaders = loaders or {"train": LOADER}
    return {
        "seed": 3,
        "system": {**model, "dataloaders": dataloaders},
        "data": {"split": split},
        "trainer": dict(QUIET),
    }


def newest() -> RunFolder:
    return next(runs_of(Path("outputs"), "run"))


def weights_of(run: RunFolder) -> dict[str, torch.Tensor]:
    return torch.load(run.checkpoints / "last.ckpt", weights_only=True)["state_dict"]


def sides(run: RunFolder) -> tuple[list[int], list[int]]:
    with np.load(run.path / "split.npz") as arrays:
        return arrays["train"].tolist(), arrays["val"].tolist()


def by_hand(module: str, fold: int) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    """Fit as a script does, with scikit-learn's indices."""
    pl.seed_everything(3, workers=True, verbose=False)
    dataset = jobs.data()
    folds = StratifiedKFold(5, shuffle=True, random_state=0).split(np.zeros(jobs.SAMPLES), dataset.tensors[1])
    train, val = [*folds][fold]
    made = made_by_hand(module)
    data = LighterDataModule(
        DataLoader(Subset(dataset, train.tolist()), 8, shuffle=True), DataLoader(Subset(dataset, val.tolist()), 8)
    )
    trainer = Trainer(**QUIET, logger=False, enable_checkpointing=False)
    trainer.fit(made, datamodule=data)
    return made.state_dict(), validation(trainer)


def validation(trainer: pl.Trainer) -> dict[str, float]:
    values = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
    assert values
    return values


def made_by_hand(module: str) -> pl.LightningModule:
    if module == "Plain":
        return jobs.Plain()
    network, criterion = jobs.network(), torch.nn.CrossEntropyLoss()
    if module == "System":
        made: Any = lighter.System(network, criterion=criterion)
    else:
        made = getattr(jobs, module)(network, criterion=criterion)
    made.configure_optimizers = lambda: torch.optim.SGD(made.parameters(), lr=0.1)
    return made


@pytest.mark.parametrize("rung", [*RUNGS, "System"])
def test_the_same_bits_as_by_hand_on_every_rung(rung: str) -> None:
    inputs = system() if rung == "System" else config(rung)
    for fold in range(5):
        outcome = Runner().execute("fit", [inputs, f"data::split::fold={fold}"])
        weights, loss = by_hand(rung, fold)
        ours = weights_of(outcome.folder)
        assert ours.keys() == weights.keys()
        assert all(torch.equal(ours[key], weights[key]) for key in weights)
        assert validation(outcome.trainer) == loss


def test_the_folds_of_all_runs_are_a_partition() -> None:
    validated = []
    for fold in range(5):
        train, val = sides(Runner().execute("fit", [config(), f"data::split::fold={fold}"]).folder)
        assert sorted(train + val) == [*range(jobs.SAMPLES)]
        assert jobs.data().tensors[1][val].float().mean() == pytest.approx(1 / 3, abs=0.03)
        validated += val
    assert sorted(validated) == [*range(jobs.SAMPLES)]


def test_the_seed_of_the_run_changes_no_fold() -> None:
    one, other = (Runner().execute("fit", [config(), f"seed={seed}"]).folder for seed in (1, 2))
    assert sides(one) == sides(other)
    third = Runner().execute("fit", [config(), "data::split::seed=1"]).folder
    assert sides(third) != sides(one)


def test_it_is_on_record() -> None:
    outcome = Runner().execute("fit", [config()])
    facts = json.loads(outcome.folder.record.read_text())["split"]
    split_hash = facts.pop("hash")
    assert facts == {"kind": "stratified", "n": 5, "fold": 2, "seed": 0, "samples": 60, "train": 48, "val": 12}
    assert len(split_hash) == 16
    assert read_run(outcome.folder.path).facts["split"]["hash"] == split_hash


def test_a_validation_loader_of_ones_own() -> None:
    val = {**LOADER, "shuffle": False, "batch_size": 5}
    outcome = Runner().execute("fit", [config(train_dataloader=LOADER, val_dataloader=val)])
    loaders = outcome.trainer.val_dataloaders
    assert loaders.batch_size == 5
    assert len(loaders.dataset) == 12
    assert loaders.dataset.indices == sides(outcome.folder)[1]


@pytest.mark.parametrize("dataset", ["@data::train_dataloader::dataset", "@vars::all", "$@vars::all"])
def test_one_dataset_for_both_loaders(dataset: str) -> None:
    train = LOADER if "train" in dataset else {**LOADER, "dataset": dataset}
    inputs = config(train_dataloader=train, val_dataloader={**LOADER, "shuffle": False, "dataset": dataset})
    inputs["vars"] = {"all": LOADER["dataset"]}
    outcome = Runner().execute("fit", [inputs])
    assert weights_of(outcome.folder).keys()
    data = [outcome.trainer.train_dataloader.dataset, outcome.trainer.val_dataloaders.dataset]
    assert [each.indices for each in data] == [*sides(outcome.folder)]
    assert data[0].dataset is data[1].dataset


def test_a_dataset_from_python() -> None:
    dataset = jobs.data()
    outcome = Runner().execute(
        "fit", [config(train_dataloader={**LOADER, "_target_": "tests.engine.split_jobs.loader", "dataset": dataset})]
    )
    assert outcome.trainer.train_dataloader.dataset.dataset is dataset
    assert outcome.trainer.train_dataloader.dataset.indices == sides(outcome.folder)[0]


@pytest.mark.parametrize("source", ["@data::train_dataloader::dataset", "@vars::all"])
def test_a_sampler_sees_its_side(source: str) -> None:
    sampler = {"_target_": "torch.utils.data.RandomSampler", "data_source": source}
    weighted = {
        "_target_": "torch.utils.data.WeightedRandomSampler",
        "weights": f"$[1.0] * len({source})",
        "num_samples": f"$len({source})",
    }
    for each in (sampler, weighted):
        train = {key: value for key, value in LOADER.items() if key != "shuffle"} | {"sampler": each}
        train["dataset"] = "@vars::all" if "vars" in source else LOADER["dataset"]
        inputs = {**config(train_dataloader=train), "vars": {"all": LOADER["dataset"]}}
        outcome = Runner().execute("fit", [inputs])
        assert outcome.trainer.num_training_batches == 6
        assert len(outcome.trainer.val_dataloaders) == 2


def test_loaders_that_are_defined_elsewhere() -> None:
    inputs = config(train_dataloader="@vars::loader")
    inputs["vars"] = {"loader": {**LOADER, "batch_size": "@::size", "size": 4}, "all": LOADER["dataset"]}
    inputs["vars"]["loader"] = {**LOADER, "dataset": "@vars::all", "batch_size": "@vars::size"}
    inputs["vars"]["size"] = 4
    outcome = Runner().execute("fit", [inputs])
    assert (outcome.trainer.num_training_batches, outcome.trainer.num_val_batches) == (12, [3])


def test_data_that_is_defined_elsewhere() -> None:
    inputs = config()
    inputs["vars"] = {"data": inputs["data"]}
    outcome = Runner().execute("fit", [{**inputs, "data": "@vars::data"}])
    assert len(outcome.trainer.train_dataloader.dataset) == 48
    assert len(sides(outcome.folder)[1]) == 12


def test_a_search_for_a_batch_size_has_the_training_side() -> None:
    found = find_batch_size([config()], mode="power", max_trials=2)
    assert found.samples == 48


def test_other_stages() -> None:
    fit = Runner().execute("fit", [config()])
    validated = Runner().execute("validate", [config()], ckpt_path="last", verbose=False)
    assert validated.metrics["val/loss/epoch"] == fit.metrics["val/loss/epoch"]
    assert sides(validated.folder) == sides(fit.folder)
    test = {**LOADER, "shuffle": False}
    predicted = Runner().execute(
        "predict", [config(train_dataloader=LOADER, predict_dataloader=test)], ckpt_path="last", return_predictions=True
    )
    assert sum(len(batch["pred"]) for batch in predicted.result) == jobs.SAMPLES
    assert not (predicted.folder.path / "split.npz").exists()


def test_the_validation_side_is_predicted() -> None:
    inputs = config(split={**SPLIT, "predict": "val"})
    inputs["trainer"]["callbacks"] = [
        {"_target_": "lighter.callbacks.CsvWriter", "path": "p.csv", "keys": ["target", "pred"]}
    ]
    fit = Runner().execute("fit", [inputs])
    outcome = Runner().execute("predict", [inputs], ckpt_path="last")
    rows = (outcome.folder.path / "p.csv").read_text().splitlines()[1:]
    assert [int(row.split(",")[0]) for row in rows] == jobs.data().tensors[1][sides(fit.folder)[1]].tolist()
    assert sides(outcome.folder) == sides(fit.folder)


def test_a_data_module_that_takes_indices() -> None:
    labels = [int(index % 3 == 0) for index in range(jobs.SAMPLES)]
    inputs = config()
    for source in ({"dataset": LOADER["dataset"]}, {"labels": labels}):
        inputs["data"] = {"_target_": "tests.engine.split_jobs.Own", "split": {**SPLIT, **source}}
        outcome = Runner().execute("fit", [inputs])
        weights, loss = by_hand("Steps", 2)
        assert all(torch.equal(value, weights[key]) for key, value in weights_of(outcome.folder).items())
        assert validation(outcome.trainer) == loss
    inputs["data"]["split"] = {"kind": "plain", "n_samples": 60}
    assert len(sides(Runner().execute("fit", [inputs]).folder)[0]) == 48


@pytest.mark.filterwarnings("ignore:You defined a `validation_step`")
def test_a_split_of_the_data_modules_own() -> None:
    inputs = {**config("Plain"), "data": {"_target_": "tests.engine.split_jobs.NamesSplit", "split": {"kind": "mine"}}}
    assert not (Runner().execute("fit", [inputs]).folder.path / "split.npz").exists()


def problems(inputs: dict[str, Any], *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        Runner().execute("fit", [inputs, *overrides])
    assert not Path("outputs").exists() or not [*Path("outputs").rglob("run.json")]
    return [f"{problem.path}: {problem.message}" for problem in caught.value.problems]


def test_mistakes_before_anything_is_built() -> None:
    (message,) = problems(config(split={"kind": "plain", "fold": 7}))
    assert message == "data::split::fold: there are 5 folds, so `fold` is 0 to 4; found 7"
    (message,) = problems(system(split={"kind": "plain", "dataset": 3}))
    assert "`dataset` is for a data module that makes its own loaders" in message
    (message,) = problems({**system(), "data": {"split": SPLIT, "splitt": 1}})
    assert message == "data::splitt: `data` without `_target_` only splits the data of a `system`"
    message, _ = problems({**config(), "data": {"split": SPLIT}})
    assert "`split` cuts the dataset of a data module's loaders, or of a `system`; here is neither" in message
    messages = problems({**config("Plain"), "data": {"_target_": "tests.engine.split_jobs.TakesNone", "split": SPLIT}})
    assert messages == ["data::split: TakesNone makes its own loaders, and takes no indices to split its data by"]
    messages = problems({**config("Plain"), "data": {"_target_": "tests.engine.split_jobs.Own", "split": SPLIT}})
    assert "how many samples there are to split is not known" in messages[0]


def test_mistakes_in_the_loaders() -> None:
    (message,) = problems(config(train_dataloader=[LOADER, LOADER]))
    assert message == "data::train_dataloader: `split` cuts the dataset of one loader; here are several"
    positional = {"_target_": "torch.utils.data.DataLoader", "_args_": [LOADER["dataset"], 8]}
    (message,) = problems(config(train_dataloader=positional))
    assert message == ("data::train_dataloader: `split` cuts the `dataset` of this loader, which has none by that name")
    batches = {"_target_": "torch.utils.data.DataLoader", "dataset": LOADER["dataset"], "batch_sampler": [[0, 1]]}
    (message,) = problems(config(train_dataloader=batches))
    assert "the loader of the validation side is made like this one" in message
    own = {"_target_": "torch.utils.data.DataLoader", "dataset": LOADER["dataset"], "batch_size": 4}
    Runner().execute("fit", [config(train_dataloader=batches, val_dataloader=own), "trainer::max_epochs=1"])


def test_mistakes_of_the_data() -> None:
    other = {**LOADER, "dataset": {"_target_": "torch.utils.data.TensorDataset", "_args_": ["$[1, 2]"]}}
    other["dataset"] = "$list(range(7))"
    (message,) = problems(config(train_dataloader=LOADER, val_dataloader={**other, "shuffle": False}))
    assert message == ("data::val_dataloader: its dataset has 7 samples, and that of the training loader 60")
    (message,) = problems(config(train_dataloader={**LOADER, "dataset": "$iter([1])", "shuffle": False}))
    assert message == "data::split: a list_iterator has no indices that it could be split by"
    (message,) = problems(config(split={"kind": "stratified", "n": 50}))
    assert message.startswith("data::split::n: this data cannot be split so: n_splits=50")
    (message,) = problems(config(split={"kind": "grouped", "groups": [1, 2]}))
    assert message == "data::split::groups: `groups` is a value for each of the 60 samples; this is of shape (2,)"


def test_leaks_are_refused_before_training() -> None:
    groups = {"kind": "plain", "groups": [index // 4 for index in range(jobs.SAMPLES)]}
    (message,) = problems(config(split=groups))
    assert "groups are on both sides" in message
    (message,) = problems(config(split={"kind": "plain", "times": [*range(jobs.SAMPLES)]}))
    assert "time runs backwards" in message
    twice = "$__import__('torch').utils.data.ConcatDataset([@vars::all, @vars::all])"
    inputs = config(split={"kind": "plain"}, train_dataloader={**LOADER, "dataset": twice})
    inputs["vars"] = {"all": LOADER["dataset"]}
    (message,) = problems(inputs)
    assert "validation samples are in the training too, under other indices" in message


@pytest.mark.parametrize("leaks", ["warn", "ignore"])
def test_leaks_that_are_meant(leaks: str, caplog: pytest.LogCaptureFixture) -> None:
    split = {"kind": "plain", "groups": [index // 4 for index in range(jobs.SAMPLES)], "leaks": leaks}
    Runner().execute("fit", [config(split=split)])
    assert ("groups are on both sides" in caplog.text) == (leaks == "warn")


def test_labels_are_an_expression_of_the_whole_dataset() -> None:
    labels = "$@data::train_dataloader::dataset.tensors[1]"
    one = Runner().execute("fit", [config(split={**SPLIT, "labels": labels})])
    other = Runner().execute("fit", [config()])
    assert sides(one.folder) == sides(other.folder)


def test_texts_for_labels() -> None:
    train = {**LOADER, "dataset": {"_target_": "tests.engine.split_jobs.Unseen"}}
    outcome = Runner().execute("fit", [config(train_dataloader=train)])
    assert sum(index % 2 for index in sides(outcome.folder)[1]) == 6


def test_a_splitter_of_scikit_learns() -> None:
    splitter = {"_target_": "sklearn.model_selection.ShuffleSplit", "n_splits": 3, "random_state": 4}
    train, val = sides(Runner().execute("fit", [config(split={"splitter": splitter, "fold": 1})]).folder)
    assert (len(train), len(val)) == (54, 6)
    del splitter["random_state"]
    with pytest.raises(ConfigError, match="ShuffleSplit has no `random_state`"):
        Runner().execute("fit", [config(split={"splitter": splitter})])


def test_the_split_file_of_a_run_is_a_split() -> None:
    fit = Runner().execute("fit", [config()])
    again = Runner().execute("fit", [config(split={"kind": "indices", "file": str(fit.folder.path / "split.npz")})])
    assert sides(again.folder) == sides(fit.folder)


@pytest.mark.parametrize("rung", ["Steps", "System"])
def test_a_fit_resumes_with_the_same_split_only(rung: str) -> None:
    inputs = config() if rung == "Steps" else system()
    fit = Runner().execute("fit", [inputs]).folder
    with pytest.raises(ConfigError, match="this was 2, and is 3; the epoch and the step that it resumes from"):
        Runner().resume(fit.path, ["trainer::max_epochs=3", "data::split::fold=3"])
    Runner().resume(fit.path, ["trainer::max_epochs=3", "data::split::leaks=warn"])
    facts = json.loads(fit.record.read_text())
    facts["split"]["hash"] = "other"
    fit.record.write_text(json.dumps(facts))
    with pytest.raises(ConfigError, match="the data is split otherwise than when this fit began: other samples"):
        Runner().resume(fit.path, ["trainer::max_epochs=4"])


def test_safe_mode(tmp_path: Path) -> None:
    safe = lighter.SafeMode({f"tests.engine.split_jobs.{name}" for name in ("data", "network", "Steps")})
    assert sides(Runner(safe).execute("fit", [config()]).folder)[1]
    split = {"kind": "indices", "file": str(tmp_path.parent / "split.json")}
    (tmp_path.parent / "split.json").write_text('{"val": [0]}')
    with pytest.raises(ConfigError, match="data::split::file"):
        Runner(safe).execute("fit", [config(split=split)])


def test_the_commands(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(json.dumps(config()))
    for words in (["check"], ["check", "--probe"], ["summary"], ["show"]):
        result = CliRunner().invoke(cli, [*words, str(path)])
        assert result.exit_code == 0, result.output
    built = lighter.build([config()])
    assert len(built.data.train_dataloader().dataset) == 48
