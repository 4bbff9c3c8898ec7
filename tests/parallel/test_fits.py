"""One config on one process, by DDP, FSDP2, tensor parallelism and both: the same losses, whatever else is on.

The processes are forks and exchange by gloo on the CPU. Losses differ by the order of sums alone. The fits of one kind
are run in turn by the same processes, at the first test that looks at one of them.
"""

from __future__ import annotations

import copy
import json
from functools import cache, partial
from math import isfinite
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch

from lighter import Runner
from tests.parallel.fits import BATCH, KINDS, PROCESSES, config, refused, run, run_in_turn
from tests.parallel.jobs import PLAN, Tiny

pytestmark = [
    pytest.mark.long,
    pytest.mark.usefixtures("first_fit"),
    # of torch, at every network that ends with a linear layer
    pytest.mark.filterwarnings("ignore:FSDP2-wrapped module"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor"),  # of torch's compiler
]

LOSSES = 2e-5
"""How far the losses of 100 steps may differ, of values about 1."""
WHOLE = ("fsdp", "tensor", "both")
ACCURACY = {"_target_": "torchmetrics.classification.MulticlassAccuracy", "num_classes": 16, "average": "micro"}
COUNT = {"_target_": "tests.parallel.jobs.Count"}
GROUPS = [{"params": "layers.*", "lr": 0.005}, {"params": None, "weight_decay": 0.0}]
FREEZER = {"_target_": "lighter.callbacks.Freezer", "name_starts_with": ["layers.0", "embed"], "until_step": 2}
STOPPING = {"_target_": "pytorch_lightning.callbacks.EarlyStopping", "monitor": "val/loss/epoch", "patience": 9}
MOST = "groups, warm-up, clipping by norm, accumulation, metrics, Freezer, early stopping"
OTHERS = "clipping by value, activations computed again"
FILE, DRAWS, COMPILED, HALF = "weights of a file", "dropout and a loss that is NaN", "compile", "bf16-mixed"
HUNDRED, NORMED, WORKERS = "100 steps", "BatchNorm", "data that divides itself, in workers"
LOOSE, TIED = "a tensor that is no buffer", "tied weights"
TINY = "tests.parallel.jobs.Tiny"
FEATURES: dict[str, dict[str, Any]] = {
    MOST: {
        "model": {
            "network": {"_target_": TINY, "layers": 1},
            "train_metrics": ACCURACY,
            "val_metrics": {"_target_": "torchmetrics.MetricCollection", "metrics": [ACCURACY, COUNT]},
            "optimizer": {"_target_": "torch.optim.AdamW", "lr": 0.01, "params": GROUPS},
            "scheduler": {"warmup": {"steps": 3}},
        },
        "data": {"train_dataloader": {"dataset": {"samples": 8 * BATCH}}},  # an epoch, where gradients accumulate
        "trainer": {
            "max_steps": 4,
            "gradient_clip_val": 0.5,
            "accumulate_grad_batches": 2,
            "callbacks": [FREEZER, STOPPING],
        },
    },
    OTHERS: {
        "trainer": {"gradient_clip_val": 0.02, "gradient_clip_algorithm": "value"},
        "parallel": {"checkpoint_activations": ["layers.*"]},
    },
    FILE: {"model": {"ckpt_path": "start.ckpt"}, "trainer": {"max_steps": 2}},
    DRAWS: {
        "model": {
            "_target_": "tests.parallel.jobs.BadOnce",
            "network": {"_target_": TINY, "layers": 1, "dropout": 0.3},
        },
        "trainer": {"on_non_finite": "skip"},
    },
    # what is traced runs as it is: to compile it takes a minute
    COMPILED: {
        "model": {"network": {"_target_": TINY, "layers": 1}},
        "trainer": {"max_steps": 2},
        "parallel": {"compile": ["layers.*"]},
    },
    HALF: {
        "model": {"network": {"_target_": TINY, "layers": 1}},
        "trainer": {"max_steps": 2, "precision": "bf16-mixed"},
    },
    HUNDRED: {
        # each layer takes dozens of exchanges in each step
        "model": {"network": {"_target_": TINY, "layers": 1}, "optimizer": {"foreach": True}},
        "trainer": {"max_steps": 100, "check_val_every_n_epoch": 5},  # validated once
    },
    NORMED: {
        "model": {"network": {"_target_": "tests.parallel.jobs.Normed"}},
        "trainer": {"limit_train_batches": 3},  # validated by the means that it has then
    },
    LOOSE: {"model": {"network": {"_target_": "tests.parallel.jobs.Scaled"}}, "trainer": {"max_steps": 2}},
    TIED: {"model": {"network": {"_target_": "tests.parallel.jobs.Tied"}}},
    WORKERS: {
        "data": {
            "train_dataloader": {
                "dataset": {"_target_": "tests.parallel.jobs.TokensByShare", "samples": 4 * BATCH},
                "num_workers": 2,
                "multiprocessing_context": "fork",
            }
        },
        "trainer": {"max_steps": -1, "max_epochs": 1},
    },
}
KINDS_OF = {
    **dict.fromkeys((MOST, FILE, DRAWS), WHOLE),
    **dict.fromkeys((OTHERS, COMPILED, HALF, WORKERS), ("fsdp", "tensor")),
    HUNDRED: ("ddp", "fsdp", "both"),
    NORMED: ("tensor",),
    LOOSE: ("fsdp",),
    TIED: ("fsdp", "tensor"),
}
"""The kinds that a feature is tried with; it is compared with one process, or else with DDP."""
VALIDATED = (MOST, HUNDRED, NORMED)
CASES = [(feature, kind) for feature, kinds in KINDS_OF.items() for kind in kinds]


def with_feature(kind: str, name: str) -> dict[str, Any]:
    given = config(kind, steps=3)
    given["trainer"]["enable_checkpointing"] = False
    change(given, copy.deepcopy({key: value for key, value in FEATURES[name].items() if key in given}))
    if name == WORKERS:
        del given["data"]["train_dataloader"]["dataset"]["seed"]
    return given


def change(given: dict[str, Any], changes: dict[str, Any]) -> None:
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(given.get(key), dict):
            change(given[key], value)
        else:
            given[key] = given[key] + value if key == "callbacks" else value


@cache
def seen(kind: str) -> dict[str, list[Any]]:
    """Return what each process saw, by feature."""
    torch.manual_seed(11)
    torch.save(Tiny().state_dict(), "start.ckpt")
    references = {"one": {*KINDS_OF} - {WORKERS}, "ddp": {DRAWS}}.get(kind, set())
    names = [name for name in FEATURES if kind in KINDS_OF[name] or name in references]
    fits = {name: partial(Runner().run, "fit", with_feature(kind, name)) for name in names}
    with patch("torch.compile", partial(torch.compile, backend="eager")):
        found = run_in_turn(PROCESSES[kind], fits)
    assert {len(each) for each in found.values()} == {PROCESSES[kind]}
    return found


def reference(feature: str, kind: str) -> Any:
    """Return what the first process saw of a feature where nothing is divided."""
    is_of_ddp = feature == DRAWS and kind != "tensor"  # two data ranks have other random numbers than one
    return seen("ddp" if is_of_ddp else "one")[feature][0]


def furthest(one: Any, two: Any) -> float:
    return max(abs(first - second) for first, second in zip(one["losses"], two["losses"], strict=True))


@pytest.mark.parametrize(("feature", "kind"), [case for case in CASES if case[0] not in (DRAWS, HALF, WORKERS)])
def test_a_feature_does_what_it_does_in_one_process(feature: str, kind: str) -> None:
    expected, found = reference(feature, kind), seen(kind)[feature][0]
    assert furthest(found, expected) < LOSSES
    assert ("val/loss/epoch" in expected["metrics"]) == (feature in VALIDATED)
    for name, value in expected["metrics"].items():
        if "metrics" in name or "lr" in name or name == "val/loss/epoch":
            near = 1e-4 if name == "val/loss/epoch" else 1e-6
            assert found["metrics"][name] == pytest.approx(value, abs=near), name


@pytest.mark.parametrize("kind", KINDS_OF[HUNDRED])
def test_a_hundred_steps_learn_and_end_with_the_same_values_on_all_processes(kind: str) -> None:
    losses = reference(HUNDRED, kind)["losses"]
    assert len(losses) == 100
    assert losses[-1] < losses[0] / 2
    found = seen(kind)[HUNDRED]
    epoch = [{name: each["metrics"][name] for name in each["metrics"] if "/epoch" in name} for each in found]
    assert all(each == epoch[0] for each in epoch)
    shares = {json.dumps(each["batches"]) for each in found}
    assert len(shares) == KINDS[kind].get("parallel", {}).get("data", 2)  # the data ranks, and they alone


@pytest.mark.parametrize("kind", KINDS_OF[DRAWS])
def test_dropout_is_that_of_the_data_rank_and_a_loss_that_is_nan_in_one_process_is_left_out_by_all(kind: str) -> None:
    expected, found = reference(DRAWS, kind), seen(kind)[DRAWS]
    for one, two in zip(found[0]["losses"], expected["losses"], strict=True):
        assert one == pytest.approx(two, abs=LOSSES, nan_ok=True)
    for each in found:
        assert [isfinite(loss) for loss in each["losses"]] == [True, False, True]


@pytest.mark.parametrize("kind", KINDS_OF[HALF])
def test_16_bits_are_near_what_they_are_in_one_process(kind: str) -> None:
    found = seen(kind)[HALF][0]
    assert furthest(found, reference(HALF, kind)) < 2e-3
    assert furthest(found, seen("one")[COMPILED][0]) > LOSSES  # the same network in 32 bits


@pytest.mark.parametrize("kind", KINDS_OF[WORKERS])
def test_data_that_divides_itself_over_workers_is_there_once(kind: str) -> None:
    shares = {json.dumps(each["batches"]) for each in seen(kind)[WORKERS]}
    assert len(shares) == KINDS[kind]["parallel"]["data"]
    assert sorted(sample for share in shares for batch in json.loads(share) for sample in batch) == [*range(4 * BATCH)]


def test_each_data_rank_predicts_its_share(own_place: Path) -> None:
    given = config("fsdp")
    given["trainer"]["callbacks"] = [
        {"_target_": "lighter.callbacks.FileWriter", "directory": "files", "value_key": "pred", "writer_fn": "tensor"}
    ]
    run("fsdp", given, "predict")
    [folder] = own_place.glob("outputs/*/*/files")
    assert len([*folder.glob("*.pt")]) == 32


def with_section(kind: str, **section: Any) -> dict[str, Any]:
    return {**config(kind), "parallel": section}


def test_what_two_processes_refuse() -> None:
    apart = config("tensor")
    apart["data"]["train_dataloader"] |= {"dataset": {"_target_": "tests.parallel.jobs.ByRank"}, "sampler": None}
    normed = config("fsdp")
    normed["model"]["network"]["_target_"] = "tests.parallel.jobs.Normed"
    fits = {
        "Did you mean `network.layers.*`?": with_section("fsdp", data=2, shard=["network.layer.*"]),
        "divides Linear, Embedding; this is a LayerNorm": with_section(
            "tensor", data=1, tensor=2, plan={"norm": "colwise"}
        ),
        "the first batch of training is not the same on the 2 tensor ranks": apart,
        "`network.norm` is a BatchNorm1d, whose running means would be those of one process's data": normed,
    }
    for message, said in run_in_turn(2, {message: refused(given) for message, given in fits.items()}).items():
        assert len(said) == 2, message
        assert all(message in each for each in said), said


def test_networks_that_each_data_rank_would_train_apart() -> None:
    given = with_section("both", tensor=2, shard=[], plan=PLAN)
    given["trainer"]["devices"] = 4
    said = run_in_turn(4, {"": refused(given)})[""]
    assert len(said) == 4
    assert all("nothing to divide over the data ranks, of which there are 2" in each for each in said)
