"""A fit that goes on with changes: which have effect, which are refused, and how they are told."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from lighter import Runner
from lighter.engine import project
from lighter.errors import CheckpointError, ConfigError
from lighter.launch.job import steps_of
from tests.runs.resume.jobs import fit_until, newest, record, tensors
from tests.slow import mostly_slow


class Rates(pl.Callback):
    seen: list[tuple[float, float]] = []

    def on_train_batch_start(self, trainer, *_):
        group = trainer.optimizers[0].param_groups[0]
        Rates.seen.append((round(group["lr"], 6), group["betas"][0], len(trainer.optimizers[0].state)))


@pytest.mark.parametrize(
    ("take", "overrides", "expected"),
    [
        ("all", [], (0.01, 0.9, 4)),
        ("all", ["model::optimizer::lr=0.001"], (0.001, 0.9, 4)),
        ("all", ["vars::rate=0.002"], (0.002, 0.9, 4)),
        ("all", ["model::optimizer::betas=[0.8, 0.99]"], (0.01, 0.8, 4)),
        ("no-optimizer", ["model::optimizer::lr=0.001"], (0.001, 0.9, 0)),
    ],
)
@pytest.mark.slow
def test_new_settings_of_the_optimizer_have_effect(
    job: dict[str, Any], take: str, overrides: list[str], expected: tuple[float, ...]
) -> None:
    job["vars"]["rate"] = 0.01
    job["model"]["optimizer"] = {"_target_": "torch.optim.Adam", "lr": "@vars::rate", "betas": [0.9, 0.999]}
    if overrides and "betas" in overrides[0]:
        overrides = ["=" + overrides[0]]
    job["trainer"]["callbacks"] = [{"_target_": "tests.runs.resume.test_changes.Rates"}]
    folder = fit_until(15, [job])
    Rates.seen = []
    Runner().resume("last", overrides, take)
    assert Rates.seen[0] == expected
    assert len(Rates.seen) == 20
    assert record(folder)["progress"] == {"epoch": 3, "step": 30}


def test_a_start_from_before_where_the_record_was_has_made_steps(job: dict[str, Any]) -> None:
    folder = fit_until(15, [job])
    # as after a node's failure, with the last checkpoint far behind
    facts = record(folder) | {"progress": {"epoch": 100, "step": 1000}, "steps_made": 1000}
    (folder / "run.json").write_text(json.dumps(facts))
    before = steps_of(folder / "run.json")
    Runner().resume("last", [])
    assert record(folder)["progress"]["step"] == 30
    assert steps_of(folder / "run.json") == before + 20  # from step 10


def test_a_schedule_goes_on_scaled(job: dict[str, Any]) -> None:
    job["model"]["scheduler"] = {"_target_": "torch.optim.lr_scheduler.ExponentialLR", "gamma": 0.5}
    job["trainer"]["callbacks"] = [{"_target_": "tests.runs.resume.test_changes.Rates"}]
    fit_until(15, [job])
    Rates.seen = []
    Runner().resume("last", ["model::optimizer::lr=0.1"])
    assert [lr for lr, _, _ in Rates.seen[::10]] == [0.05, 0.025]


def test_the_weights_alone_begin_a_new_run(job: dict[str, Any]) -> None:
    folder = fit_until(15, [job])
    weights = tensors(folder / "checkpoints" / "last.ckpt")
    Runner().resume("last", ["trainer::max_epochs=1", "model::optimizer::lr=0.0"], "weights")
    new = newest()
    assert new != folder
    assert record(new)["progress"] == {"epoch": 1, "step": 10}
    assert record(new)["resumed"]["run"].endswith(folder.name)
    assert all(torch.equal(value, weights[name]) for name, value in tensors(new / "checkpoints" / "last.ckpt").items())


REFUSED = {
    "network": ("model::network::_target_=tests.runs.resume.jobs.wide_mlp", "all", "this was 'tests.jobs.mlp'"),
    "module": ("model::_target_=tests.runs.resume.jobs.Wider", "no-optimizer", "those of another network"),
    "optimizer": ("=model::optimizer={_target_: torch.optim.SGD, lr: 1}", "all", r"as it was\n.*\n.*\n.*no-optimizer"),
    "scheduler": (
        "model::scheduler={_target_: torch.optim.lr_scheduler.StepLR, step_size: 1}",
        "all",
        "scheduler::_target_: this was not there",
    ),
    "batch size": ("data::train_dataloader::batch_size=16", "all", "this was 32, and is 16; the epoch and the step"),
    "data": ("data::train_dataloader::dataset::end=9", "no-optimizer", "dataset::end: this was 320, and is 9"),
    "a file": ("config.yaml", "all", "only overrides are given here"),
    "misspelt": ("=model::optimizer::rl=1", "all", "rl"),
}


@pytest.mark.parametrize("case", mostly_slow(REFUSED, 3))
def test_changes_that_make_the_state_meaningless_are_refused(job: dict[str, Any], case: str) -> None:
    override, take, message = REFUSED[case]
    folder = fit_until(15, [job])
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match=message):
        Runner().resume("last", [override], take)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


STEPS = {"_target_": "torch.optim.lr_scheduler.LinearLR", "total_iters": "$@trainer.estimated_stepping_batches"}
USED = "trainer::max_epochs: this was 3, and is 4, and `model::scheduler::total_iters` refers to it"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["trainer::enable_progress_bar=false"], ""),
        (["trainer::max_epochs=4"], USED),
        (["trainer::max_epochs=4", "model::scheduler::total_iters=9"], r"and is 9;[^;]*total_iters=\$@trainer\.\w+$"),
    ],
)
@pytest.mark.slow
def test_a_schedule_refers_to_the_number_of_steps(job: dict[str, Any], overrides: list[str], message: str) -> None:
    job["model"]["scheduler"] = STEPS
    folder = fit_until(15, [job])
    with pytest.raises(ConfigError, match=message) if message else nullcontext():
        Runner().resume("last", overrides)
    assert message or record(folder)["status"] == "finished"


def test_names_of_the_project_are_imported_when_it_is_importable(job: dict[str, Any], own_place: Path) -> None:
    """A resume compares the configs before it is."""
    (own_place / "numbers_of_mine.py").write_text("RATE = 0.02\n")
    job |= {"project": str(own_place), "_imports_": {"RATE": "project.numbers_of_mine.RATE"}}
    job["model"]["optimizer"]["lr"] = "$RATE"
    folder = fit_until(15, [job])
    project._provide(None)  # as another run of this process without a project
    Runner().resume("last")
    assert record(folder)["status"] == "finished"


def test_weights_of_another_shape_are_refused_by_name(job: dict[str, Any]) -> None:
    fit_until(15, [job])
    with pytest.raises(
        CheckpointError, match=r"another network:\n  network.0.weight: \(32, 64\) there, \(48, 64\) here"
    ):
        Runner().resume("last", ["model::network::_target_=tests.runs.resume.jobs.wide_mlp"], "weights")


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature", "ignore:.*uninitialized parameters")
@pytest.mark.filterwarnings("ignore:A layer with UninitializedParameter", "ignore:The total number of parameters")
@pytest.mark.parametrize("network", mostly_slow(["lazy_mlp", "meta_mlp"]))
def test_layers_without_shapes_and_extra_state_go_on(job: dict[str, Any], network: str) -> None:
    job["model"]["network"] = {"_target_": f"tests.runs.resume.jobs.{network}"}
    folder = fit_until(17, [job])
    Runner().resume("last")
    assert record(folder)["status"] == "finished"


@pytest.mark.parametrize("override", ["data::train_dataloader::num_workers=0", "data::val_dataloader::batch_size=16"])
@pytest.mark.slow
def test_changes_that_do_not_matter_are_allowed(job: dict[str, Any], override: str) -> None:
    folder = fit_until(15, [job])
    Runner().resume("last", [override])
    assert record(folder)["status"] == "finished"


@pytest.mark.slow
def test_code_that_changed_is_named(job: dict[str, Any], own_place: Path, monkeypatch: Any, caplog: Any) -> None:
    monkeypatch.syspath_prepend(str(own_place))
    nets = own_place / "my_nets.py"
    nets.write_text("from tests.jobs import mlp\n")
    job["model"]["network"] = {"_target_": "my_nets.mlp"}
    folder = fit_until(17, [job])
    assert list(record(folder)["code"]) == ["my_nets"]
    nets.write_text("from tests.jobs import mlp  # another\n")
    facts = record(folder)
    facts["software"]["packages"]["torch"] = "1.0"
    (folder / "run.json").write_text(json.dumps(facts))
    Runner().resume("last")
    [line] = [one.getMessage() for one in caplog.records if "not as it was" in one.getMessage()]
    assert line.startswith("not as it was when this run began: my_nets (its file changed), torch (1.0, now ")
    caplog.clear()
    Runner().resume("last", ["trainer::max_epochs=4"])
    lines = [one.getMessage() for one in caplog.records if "not as it was" in one.getMessage()]
    assert lines == [line], "compared with the start of the run, whichever resume this is"
