"""Checkpoints of a fit with `parallel`: folders of shards, which any number of processes resumes and others read."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from math import isfinite
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

import lighter
from lighter.exporting.weights import export_weights
from lighter.files.run_folder import RunFolder
from lighter.runs.resume.config_changes import WEIGHTS
from lighter.runs.resume.fit import resumed
from tests.parallel.fits import BATCH, KINDS, PROCESSES, config, run, run_in_turn

pytestmark = [
    pytest.mark.long,
    pytest.mark.usefixtures("first_fit"),
    pytest.mark.filterwarnings("ignore:FSDP2-wrapped module"),
]
SAMPLES = 6 * BATCH
TINY, NORMED = "tests.parallel.jobs.Tiny", "tests.parallel.jobs.Normed"
SAVES = {"_target_": "pytorch_lightning.callbacks.ModelCheckpoint", "every_n_train_steps": 2, "save_top_k": -1}


def numbered(kind: str, steps: int, name: str) -> dict[str, Any]:
    """A fit of an epoch of 6 steps, whose samples are known; `NORMED` stands for tensor ranks with a BatchNorm."""
    given = config("tensor" if kind == NORMED else kind, steps=steps)
    given["model"]["network"] = {"_target_": NORMED} if kind == NORMED else {"_target_": TINY, "dropout": 0.2}
    given["data"]["train_dataloader"]["dataset"] |= {"samples": SAMPLES, "numbered": True}
    given["trainer"]["callbacks"].append(copy.deepcopy(SAVES))
    return {**given, "run": {"name": name}}


def samples(of_processes: list[Any], *, since: int = 0, until: int | None = None) -> list[int]:
    """The samples of some steps, of which the first are those of the checkpoint; tensor ranks have the same."""
    shares = {json.dumps(each["batches"][since:until]) for each in of_processes}
    return sorted(sample for share in shares for batch in json.loads(share) for sample in batch)


def saved(name: str, step: int) -> Path:
    """Return the checkpoint that a fit of this name has saved after a step."""
    [found] = Path().glob(f"outputs/*/*-{name}/checkpoints/*step={step}.ckpt")
    return found


def log_of(name: str) -> str:
    [log] = Path().glob(f"outputs/*/*-{name}/run.log")
    return log.read_text()


def weights_of(source: Path) -> dict[str, Any]:
    return {name: parameter.tolist() for name, parameter in lighter.load(source).state_dict().items()}


def fit(kind: str, steps: int, name: str, start: str = "") -> Callable[[], object]:
    """Return a fit, to begin where the fit of the name `start` had made two steps."""

    def begin() -> object:
        arguments = {"ckpt_path": str(saved(start, 2))} if start else {}
        return lighter.Runner().run("fit", numbered(kind, steps, name), **arguments)

    return begin


def check_read_without_processes(name: str, expected: dict[str, Any]) -> None:
    """See that the last checkpoint of a fit is loaded, exported and evaluated in one process."""
    folder, last = saved(name, 4).parents[1], saved(name, 4)
    for source in (last, folder):
        assert weights_of(source) == expected["weights"]
    exported = export_weights(RunFolder(folder))
    assert {key: weight.tolist() for key, weight in load_file(exported.path).items()} == expected["weights"]
    given = config("one")
    given["model"]["network"]["_target_"] = NORMED if name.startswith("normed") else TINY
    with pytest.warns(UserWarning, match="callbacks used to create the checkpoint"):
        [values] = lighter.Runner().run("validate", given, ckpt_path=str(last))
    assert isfinite(values["val/loss/epoch"])


def check_each_sample_once(before: list[int], after: list[Any], name: str, reason: str) -> None:
    assert f"resume: exact in its samples ({reason})" in log_of(name)
    assert sorted(before + samples(after, since=2)) == list(range(SAMPLES))


def test_a_fit_on_four_processes_is_resumed_by_four_two_and_one_and_read_without_any(own_place: Path) -> None:
    seen = run_in_turn(4, {"whole": fit("both", 4, "whole"), "again": fit("both", 4, "again", "whole")})
    whole, again = seen["whole"], seen["again"]
    assert "whole network first" not in log_of("whole")
    assert len([*saved("whole", 2).glob("*.distcp")]) == PROCESSES["both"]
    assert [each["losses"] for each in again] == [each["losses"] for each in whole]  # bits
    assert again[0]["weights"] == whole[0]["weights"]

    before = samples(whole, until=2)
    two = run_in_turn(2, {"two": fit("fsdp", 6, "two", "whole")})["two"]
    check_each_sample_once(before, two, "two", "2 processes now, 4 then")
    losses = [*whole[0]["losses"][:2], *two[0]["losses"][-4:]]
    # each data rank has what the one of its number had added up
    assert two[0]["metrics"]["train/loss/epoch"] == pytest.approx(sum(losses) / len(losses), abs=1e-5)

    one = run_in_turn(1, {"one": fit("one", 6, "one", "whole")})["one"]
    check_each_sample_once(before, one, "one", "1 processes now, 4 then")
    check_read_without_processes("whole", whole[0])


def test_two_processes_resume_what_two_saved_with_the_same_mesh_and_with_another(own_place: Path) -> None:
    kinds = {"fsdp": "tensor", "tensor": "fsdp"}
    fits = {}
    for name, kind in {"fsdp": "fsdp", "tensor": "tensor", "normed": NORMED}.items():
        fits[f"{name}-whole"] = fit(kind, 4, f"{name}-whole")
        fits[f"{name}-again"] = fit(kind, 4, f"{name}-again", f"{name}-whole")
    # an epoch of tensor ranks has as many steps, of the batches of both data ranks
    fits |= {f"{kind}-moved": fit(other, 6, f"{kind}-moved", f"{kind}-whole") for kind, other in kinds.items()}
    seen = run_in_turn(2, fits)
    for name in ("fsdp", "tensor", "normed"):
        whole, again = seen[f"{name}-whole"], seen[f"{name}-again"]
        assert "resume: exact\n" in log_of(f"{name}-again")
        assert [each["losses"] for each in again] == [each["losses"] for each in whole]  # bits
        assert again[0]["weights"] == whole[0]["weights"]
        check_read_without_processes(f"{name}-whole", whole[0])
    for name, reason in {"fsdp": "1 data ranks now, 2 then", "tensor": "2 data ranks now, 1 then"}.items():
        before = samples(seen[f"{name}-whole"], until=2)
        check_each_sample_once(before, seen[f"{name}-moved"], f"{name}-moved", reason)


def taken(source: str, *overrides: str) -> Callable[[], None]:
    """Return a fit of one step that changes nothing, of the weights of the fit of a name."""
    words = ["run::name=taken", "trainer::max_steps=1", "model::optimizer::lr=0.0", *overrides]

    def begin() -> None:
        [folder] = Path().glob(f"outputs/*/*-{source}")
        with resumed(folder.absolute(), folder.absolute().parents[1], words, WEIGHTS) as (plan, inputs):
            lighter.Runner().execute("fit", inputs, resume_plan=plan)

    return begin


def named(given: dict[str, Any], name: str) -> Callable[[], object]:
    return lambda: lighter.Runner().run("fit", {**given, "run": {"name": name}})


def test_weights_alone_of_a_folder_and_of_a_file(own_place: Path) -> None:
    def small(kind: str) -> dict[str, Any]:
        given = config(kind, steps=2)
        given["model"]["network"]["layers"] = 1
        return given

    by_itself = small("one")
    by_itself["model"]["_target_"] = "tests.parallel.jobs.DividesItself"
    strategy = {"_target_": "pytorch_lightning.strategies.ModelParallelStrategy"}
    strategy |= {"data_parallel_size": 2, "tensor_parallel_size": 1}
    by_itself["trainer"] |= {"devices": 2, "strategy": strategy}
    as_tensor = f"parallel={json.dumps(KINDS['tensor']['parallel'])}"
    [file] = run_in_turn(1, {"file": named(small("one"), "file")})["file"]
    fits = {
        "itself": named(by_itself, "itself"),
        "itself, by itself": taken("itself"),
        "fsdp": named(small("fsdp"), "fsdp"),
        "fsdp, by fsdp": taken("fsdp"),
        "fsdp, by tensor": taken("fsdp", as_tensor),
        "tensor": named(small("tensor"), "tensor"),
        "tensor, by fsdp": taken("tensor", "parallel::data=2", "parallel::tensor=1"),
        "file, by tensor": taken("file", "trainer::devices=2", as_tensor),
    }
    seen = run_in_turn(2, fits) | {"file": [file]}
    seen |= run_in_turn(1, {"fsdp, by one": taken("fsdp", "parallel=null", "trainer::devices=1")})
    takes = [name for name in seen if ", " in name]
    assert len(takes) == 6
    for name in takes:
        source = name.partition(",")[0]
        assert [len(each["losses"]) for each in seen[name]] == [1] * len(seen[name]), name
        assert all(each["weights"] == seen[source][0]["weights"] for each in seen[name]), name

    [folder] = Path().glob("outputs/*/*-itself")
    last = folder / "checkpoints/last.ckpt"
    assert last.is_dir()
    for source in (folder, last):
        assert weights_of(source) == seen["itself"][0]["weights"]
    begun = small("one")
    begun["model"] |= {"ckpt_path": str(last), "optimizer": {"_target_": "torch.optim.SGD", "lr": 0.0}}
    assert run("one", begun)[0]["weights"] == seen["itself"][0]["weights"]
