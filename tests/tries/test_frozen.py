"""All planted ways to make a metric better without making the training better are refused, with the place."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from lighter.config import Config, examine
from lighter.config.check.sections import SECTIONS
from lighter.engine.execution import user_code_importable
from lighter.tries.evaluation import Facts, changed_code, changed_facts, facts_of
from lighter.tries.frozen import _WHY, refusals
from tests.tries.jobs import LOSS, METRIC, SYSTEM, write_project


def config(*inputs: Any) -> Config:
    found, problems = examine(list(inputs))
    assert found is not None
    assert not problems
    return found


def refused(*words: str, metric: str = METRIC, base: dict[str, Any] = SYSTEM, allow: tuple[str, ...] = ()) -> list[str]:
    return [change.place for change in refusals(config(base), config(base, *words), metric, allow)]


MODEL: dict[str, Any] = {
    "seed": 1,
    "vars": {"classes": 10, "weight": {"_target_": "torch.nn.CrossEntropyLoss"}},
    "model": {
        "_target_": "project.parts.Classifier",
        "hidden": 16,
        "criterion": "%vars::weight",
        "optimizer": {"_target_": "torch.optim.SGD", "lr": 0.1},
        "val_metrics": {"accuracy": {"_target_": "torchmetrics.Accuracy", "num_classes": "@vars::classes"}},
    },
    "data": {
        "_target_": "lighter.LighterDataModule",
        "split": {"kind": "random", "n": 5, "seed": 3},
        "train_dataloader": {
            "_target_": "torch.utils.data.DataLoader",
            "dataset": {"_target_": "project.parts.load"},
            "batch_size": 32,
        },
    },
    "trainer": {"max_epochs": 2, "callbacks": [{"_target_": "pytorch_lightning.callbacks.EarlyStopping"}]},
}
NEW_LOADER = "{_target_: torch.utils.data.DataLoader, dataset: {_target_: project.parts.easy}}"

CHEATS = {
    "metric replaced": (SYSTEM, "system::metrics::val::accuracy::_target_=torchmetrics.Precision"),
    "metric as a whole": (SYSTEM, "=system::metrics::val={accuracy: {_target_: project.parts.Perfect}}"),
    "a metric's argument": (SYSTEM, "system::metrics::val::accuracy::top_k=3"),
    "what it refers to": (SYSTEM, "vars::classes=3"),
    "metric switched off": (SYSTEM, "system::metrics::val::accuracy::_disabled_=true"),
    "metric of another mode": (SYSTEM, "system::metrics::train={_target_: torchmetrics.MeanMetric}"),
    "validation data": (SYSTEM, "system::dataloaders::val::dataset::end=900"),
    "validation loader": (SYSTEM, f"=system::dataloaders::val={NEW_LOADER}"),
    "validation batches": (SYSTEM, "system::dataloaders::val::batch_size=1"),
    "adapter at the metric": (SYSTEM, "system::adapters::val={metrics: {_target_: lighter.adapters.MetricsAdapter}}"),
    "adapter of the batch": (SYSTEM, "system::adapters::val::batch::target_accessor=0"),
    "inferer": (SYSTEM, "system::inferer={_target_: project.parts.Oracle}"),
    "module": (SYSTEM, "system::_target_=project.parts.MySystem"),
    "limit of batches": (SYSTEM, "trainer::limit_val_batches=1"),
    "all is not 1": (SYSTEM, "trainer::limit_val_batches=1.0"),
    "when it is computed": (SYSTEM, "trainer::check_val_every_n_epoch=2"),
    "fast_dev_run": (SYSTEM, "trainer::fast_dev_run=true"),
    "another trainer": (SYSTEM, "trainer::_target_=project.parts.MyTrainer"),
    "a callback that writes": (SYSTEM, "trainer::callbacks=[{_target_: project.parts.Write}]"),
    "a lucky epoch": (SYSTEM, "trainer::callbacks=[{_target_: pytorch_lightning.callbacks.EarlyStopping, monitor: x}]"),
    "seed": (SYSTEM, "seed=7"),
    "another project": (SYSTEM, "project=elsewhere"),
    "another objective": (SYSTEM, "experiment::objective=max val/metrics/accuracy/epoch"),
    "other seeds": (SYSTEM, "experiment::seeds=[1]"),
    "statements": (SYSTEM, "_imports_={parts: project.parts}"),
    "an expression": (SYSTEM, "system::optimizer::lr=$__import__('project.parts').patch()"),
    "callback taken away": (MODEL, "~trainer::callbacks"),
    "callback switched off": (MODEL, "trainer::callbacks::0::_disabled_=true"),
    "split seed": (MODEL, "data::split::seed=4"),
    "split fraction": (MODEL, "data::split::n=50"),
    "data of both sides": (MODEL, "data::train_dataloader::dataset::_target_=project.parts.easy"),
    "validation of its own": (MODEL, f"data::val_dataloader={NEW_LOADER}"),
    "metrics of a module": (MODEL, "model::val_metrics::accuracy::top_k=5"),
    "criterion is copied": (
        {**MODEL, "model": {**MODEL["model"], "val_metrics": "%vars::weight"}},
        "vars::weight::reduction=sum",
    ),
    "report": (MODEL, "report::task=regression"),
}


@pytest.mark.parametrize("cheat", CHEATS)
def test_cheats_are_refused(cheat):
    base, word = CHEATS[cheat]
    places = refused(word, base=base)
    path = word.lstrip("=~").partition("=")[0]
    assert any(place.partition("::")[0] in (path.partition("::")[0], "model") for place in places), places


TRAINING = (
    "system::optimizer::lr=1.0",
    "system::optimizer::_target_=torch.optim.Adam",
    "=system::model={_target_: torch.nn.Linear, in_features: 64, out_features: 10}",
    "system::scheduler={_target_: torch.optim.lr_scheduler.StepLR, step_size: 1}",
    "system::dataloaders::train::batch_size=16",
    "system::dataloaders::train::dataset::_target_=project.parts.augmented",
    "trainer::accumulate_grad_batches=2",
    "trainer::gradient_clip_val=1.0",
    "trainer::callbacks=[{_target_: pytorch_lightning.callbacks.StochasticWeightAveraging, swa_lrs: 0.1}]",
    "system::criterion::label_smoothing=0.1",
)


@pytest.mark.parametrize("word", TRAINING)
def test_what_trains_may_change(word):
    assert refused(word) == []


def test_the_loss_is_frozen_where_it_is_what_is_compared():
    assert refused("system::criterion::label_smoothing=0.1", metric=LOSS) == ["system::criterion::label_smoothing"]
    assert refused("model::loss_weights={a: 0}", metric="val_error", base=MODEL) == ["model::loss_weights::a"]
    assert refused("model::hidden=64", base=MODEL) == []


def test_data_that_validation_refers_to_is_frozen_with_it():
    loaders = {**SYSTEM["system"]["dataloaders"]}
    loaders["val"] = {**loaders["val"], "dataset": "@system::dataloaders::train::dataset"}
    base = {**SYSTEM, "system": {**SYSTEM["system"], "dataloaders": loaders}}
    assert refused("system::dataloaders::train::dataset::end=50", base=base) == [
        "system::dataloaders::train::dataset::end"
    ]


def _loader(split: str) -> dict[str, Any]:
    return {"_target_": "torch.utils.data.DataLoader", "dataset": {"_target_": "project.parts.load", "split": split}}


LOADERS = {
    **MODEL,
    "data": {
        "_target_": "lighter.LighterDataModule",
        "train_dataloader": _loader("train"),
        "val_dataloader": _loader("val"),
        "test_dataloader": {"_target_": "torch.utils.data.DataLoader", "_args_": [{"_target_": "project.parts.test"}]},
    },
}
BOTH = "{_target_: torch.utils.data.ConcatDataset, datasets: [%s, '@data::val_dataloader::dataset']}"


@pytest.mark.parametrize(
    "word",
    [
        "data::train_dataloader::dataset::split=val",
        "data::train_dataloader::dataset=@data::val_dataloader::dataset",
        "data::train_dataloader::dataset=%data::val_dataloader::dataset",
        "data::train_dataloader::dataset=$@data::val_dataloader.dataset",
        "data::train_dataloader=%data::val_dataloader",
        "data::train_dataloader=@data::val_dataloader",
        f"data::train_dataloader::dataset={BOTH % '{_target_: project.parts.load, split: train}'}",
        "=data::train_dataloader::dataset={_target_: project.parts.test}",
    ],
)
def test_the_data_of_other_loaders_is_not_for_training(word):
    changes = refusals(config(LOADERS), config(LOADERS, word), METRIC)
    assert "it would train on the data of data::" in " ".join(change.reason for change in changes)
    assert refused("data::train_dataloader::dataset::split=more", base=LOADERS) == []


def test_the_validation_loader_of_a_system_is_not_for_training():
    words = ("start=128", "end=192")
    assert refused(*(f"system::dataloaders::train::dataset::{word}" for word in words)) == [
        "system::dataloaders::train"
    ]


def test_a_baseline_that_trains_on_its_validation_data_may_be_improved():
    base = {**LOADERS, "data": {**LOADERS["data"], "train_dataloader": _loader("val")}}
    assert refused("data::train_dataloader::batch_size=7", base=base) == []


def test_the_length_of_the_training_is_frozen_unless_allowed():
    assert refused("trainer::max_epochs=9") == ["trainer::max_epochs"]
    assert refused("trainer::max_epochs=9", allow=("budget",)) == []
    assert refused("trainer::max_epochs=9", "trainer::limit_val_batches=1", allow=("budget",)) == [
        "trainer::limit_val_batches"
    ]


def test_a_value_of_the_trainer_is_frozen_where_the_evaluation_refers_to_it():
    metric = {"_target_": "torchmetrics.Accuracy", "num_classes": "$@trainer::gradient_clip_val * 4"}
    trainer = {**MODEL["trainer"], "gradient_clip_val": 0.5, "check_val_every_n_epoch": "@trainer::max_epochs"}
    base = {**MODEL, "model": {**MODEL["model"], "val_metrics": {"accuracy": metric}}, "trainer": trainer}
    assert refused("trainer::gradient_clip_val=0.7", base=base) == ["trainer::gradient_clip_val"]
    assert refused("trainer::max_epochs=4", base=base, allow=("budget",)) == ["trainer::max_epochs"]
    assert refused("trainer::accumulate_grad_batches=2", "trainer::max_steps=4", base=base, allow=("budget",)) == []


EARLY = {"_target_": "pytorch_lightning.callbacks.EarlyStopping", "monitor": "val/loss", "patience": 3}
NAMED = {
    **SYSTEM,
    "vars": {"classes": 2, "epochs": 1, "early": EARLY, "swa": 0.1, "stop": "@vars::early"},
    "trainer": {
        "max_epochs": "$@vars::epochs * 2",
        "callbacks": [
            "@vars::stop",
            {"_target_": "pytorch_lightning.callbacks.StochasticWeightAveraging", "swa_lrs": "@vars::swa"},
        ],
    },
}


@pytest.mark.parametrize(
    ("word", "places"),
    [
        ("vars::epochs=4", ["vars::epochs"]),
        ("=vars::early={_target_: project.cheat.Cheat}", ["vars::early::_target_"]),
        ("vars::early::patience=1", ["vars::early::patience"]),
        ("vars::stop=null", ["vars::stop"]),
        ("trainer::callbacks=null", ["trainer::callbacks"]),
        ("trainer::callbacks=@vars::early", []),
        ("trainer::max_epochs=2", []),
        ("vars::swa=0.2", []),
    ],
)
def test_limits_and_callbacks_are_compared_through_what_they_refer_to(word, places):
    assert refused(word, base=NAMED) == places
    assert refused(word, base=NAMED, allow=("budget",)) == [place for place in places if place != "vars::epochs"]


@pytest.mark.parametrize(
    "word", ["args::fit::ckpt_path=a.ckpt", "launch::kind=slurm", "parallel::data=2", "args={fit: {ckpt_path: a}}"]
)
def test_whole_sections_are_frozen(word):
    assert [place.partition("::")[0] for place in refused(word)] == [re.split("::|=", word)[0]]


def test_no_section_is_forgotten():
    free = {"system", "model", "trainer", "vars", "data"}
    assert {name for name in SECTIONS if name not in free and name not in _WHY} == {"_imports_"}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_project(tmp_path, monkeypatch)


def facts(*words: str) -> Facts:
    base, candidate = config(SYSTEM), config(SYSTEM, *words)
    with user_code_importable(candidate, []):
        return facts_of(candidate, base, METRIC)


def test_facts_are_the_same_where_training_alone_changed(project):
    before = facts()
    assert changed_facts(before, facts("system::optimizer::lr=1.0", "system::dataloaders::train::batch_size=7")) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "named"),
    [
        ("metric.py", "# here", "# there", "metric.py"),
        ("parts.py", "/ 16", "/ 15", "parts"),
        ("data.txt", "1", "2", "data.txt"),
    ],
)
def test_a_changed_file_is_named(project, file, old, new, named):
    before = facts()
    path = project / file
    path.write_text(path.read_text().replace(old, new))
    changes = changed_facts(before, facts())
    assert any(named in change.place for change in changes), changes
    assert all("the ledger was opened" in change.reason for change in changes)


def test_validation_batches_that_code_changes_are_seen(project, monkeypatch):
    before = facts()
    monkeypatch.setattr(sys.modules["project.parts"], "SCALE", 8)
    assert [change.place for change in changed_facts(before, facts())] == ["validation data"]


def test_another_version_is_seen(project):
    before = facts()
    before["packages"]["torch"] = "1.0"
    assert [change.place for change in changed_facts(before, facts())] == ["torch"]


def test_new_modules_may_come_and_old_ones_may_not_change():
    assert changed_code({"a": "1"}, {"a": "1", "b": "2"}) == []
    assert [change.place for change in changed_code({"a": "1"}, {"a": "2"})] == ["a"]
