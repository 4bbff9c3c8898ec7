"""One config on one process, by DDP, FSDP2, tensor parallelism and both: the same losses, whatever else is on.

The processes are forks and exchange by gloo on the CPU. Losses differ by the order of sums alone.
"""

from __future__ import annotations

import json
from functools import cache, partial
from math import isfinite
from pathlib import Path
from typing import Any

import pytest
import torch

import lighter
from lighter.runs.resume.config_changes import WEIGHTS
from lighter.runs.resume.fit import resumed
from tests.forks import launch
from tests.parallel.fits import BATCH, KINDS, PROCESSES, config, run
from tests.parallel.jobs import PLAN

pytestmark = [
    pytest.mark.long,
    # of torch, at every network that ends with a linear layer
    pytest.mark.filterwarnings("ignore:FSDP2-wrapped module"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor"),  # of torch's compiler
]

LOSSES = 2e-5
"""How far the losses of 100 steps may differ, of values about 1."""
WHOLE = ("fsdp", "tensor", "both")
ACCURACY = {"_target_": "torchmetrics.classification.MulticlassAccuracy", "num_classes": 16, "average": "micro"}
GROUPS = [{"params": "layers.*", "lr": 0.005}, {"params": None, "weight_decay": 0.0}]
FREEZER = {"_target_": "lighter.callbacks.Freezer", "name_starts_with": ["layers.0", "embed"], "until_step": 2}
STOPPING = {"_target_": "pytorch_lightning.callbacks.EarlyStopping", "monitor": "val/loss/epoch", "patience": 9}
MOST = "groups, warm-up, clipping by norm, accumulation, metrics, Freezer, early stopping"
OTHERS = "clipping by value, activations computed again"
FEATURES: dict[str, dict[str, Any]] = {
    MOST: {
        "model": {
            "train_metrics": ACCURACY,
            "val_metrics": {"_target_": "torchmetrics.MetricCollection", "metrics": [ACCURACY, {"_target_": "COUNT"}]},
            "optimizer": {"_target_": "torch.optim.AdamW", "lr": 0.01, "params": GROUPS},
            "scheduler": {"warmup": {"steps": 3}},
        },
        "trainer": {"gradient_clip_val": 0.5, "accumulate_grad_batches": 2, "callbacks": [FREEZER, STOPPING]},
    },
    OTHERS: {
        "trainer": {"gradient_clip_val": 0.02, "gradient_clip_algorithm": "value"},
        "parallel": {"checkpoint_activations": ["layers.*"]},
    },
}


def with_feature(kind: str, name: str) -> dict[str, Any]:
    given = config(kind, steps=4)
    given["data"]["train_dataloader"]["dataset"]["samples"] = 8 * BATCH  # an epoch, where gradients accumulate
    text = json.dumps(FEATURES[name]).replace("COUNT", "tests.parallel.jobs.Count")
    for section, values in json.loads(text).items():
        callbacks = given[section]["callbacks"] + values.pop("callbacks", []) if section == "trainer" else None
        if section in given:
            given[section] |= {**values, **({"callbacks": callbacks} if callbacks else {})}
    return given


@cache
def alone(feature: str) -> Any:
    """What a feature comes to in one process."""
    return run("one", with_feature("one", feature))[0]


def furthest(seen: Any, other: Any) -> float:
    return max(abs(one - two) for one, two in zip(seen["losses"], other["losses"], strict=True))


def test_the_losses_of_a_hundred_steps() -> None:
    def hundred(kind: str) -> dict[str, Any]:
        given = config(kind, steps=100)
        given["model"]["network"]["layers"] = 1  # each layer takes dozens of exchanges in each step
        given["trainer"]["check_val_every_n_epoch"] = 5  # once
        return given

    expected = run("one", hundred("one"))[0]
    assert expected["losses"][-1] < expected["losses"][0] / 2
    for kind in ("ddp", "fsdp", "both"):
        seen = run(kind, hundred(kind))
        assert len(seen) == PROCESSES[kind]
        assert furthest(seen[0], expected) < LOSSES, kind
        epoch = [{name: each["metrics"][name] for name in each["metrics"] if "/epoch" in name} for each in seen]
        assert all(each == epoch[0] for each in epoch)
        assert seen[0]["metrics"]["val/loss/epoch"] == pytest.approx(expected["metrics"]["val/loss/epoch"], abs=1e-4)
        shares = {json.dumps(each["batches"]) for each in seen}
        assert len(shares) == KINDS[kind].get("parallel", {}).get("data", 2)  # the data ranks, and they alone


@pytest.mark.parametrize(
    ("feature", "kind"), [*((MOST, kind) for kind in WHOLE), (OTHERS, "fsdp")], ids=[*WHOLE, "others"]
)
def test_features_do_what_they_do_in_one_process(feature: str, kind: str) -> None:
    expected, seen = alone(feature), run(kind, with_feature(kind, feature))
    assert furthest(seen[0], expected) < LOSSES
    metrics = {name: value for name, value in expected["metrics"].items() if "metrics" in name or "lr" in name}
    assert {name: seen[0]["metrics"][name] for name in metrics} == pytest.approx(metrics, abs=1e-6)


def test_dropout_is_that_of_the_data_rank_and_a_loss_that_is_nan_in_one_process_is_left_out_by_all() -> None:
    seen = {}
    for kind in ("ddp", "both"):
        given = config(kind, steps=3)
        given["model"] |= {"_target_": "tests.parallel.jobs.BadOnce"}
        given["model"]["network"]["dropout"] = 0.3
        given["trainer"]["on_non_finite"] = "skip"
        seen[kind] = run(kind, given)
    for one, two in zip(seen["both"][0]["losses"], seen["ddp"][0]["losses"], strict=True):
        assert one == pytest.approx(two, abs=LOSSES, nan_ok=True)
    for each in seen["both"]:
        assert [isfinite(loss) for loss in each["losses"]] == [True, False, True]


def weights_alone(folder: Path, *overrides: str) -> list[Any]:
    """Resume with the weights alone, in two processes: what each of them saw."""
    words = ["run::name=taken", "trainer::max_steps=1", "model::optimizer::lr=0.0", *overrides]

    def job() -> None:
        with resumed(folder, folder.parents[1], words, WEIGHTS) as (plan, inputs):
            lighter.Runner().execute("fit", inputs, resume_plan=plan)

    launch(job, 2, None)
    return [json.loads(path.read_text()) for path in sorted(Path().glob("watch-*.json"))]


def test_the_weights_of_shards_are_taken_loaded_and_begun_with(own_place: Path) -> None:
    sizes = {"data_parallel_size": 2, "tensor_parallel_size": 1}
    given = config("one", steps=3)
    given["model"]["_target_"] = "tests.parallel.jobs.DividesItself"
    strategy = {"_target_": "pytorch_lightning.strategies.ModelParallelStrategy", **sizes}
    given["trainer"] |= {"devices": 2, "strategy": strategy}
    expected = run("fsdp", given)[0]["weights"]
    [folder] = own_place.glob("outputs/*/*")
    last = folder / "checkpoints/last.ckpt"
    assert last.is_dir()
    for source in (folder, last):
        module = lighter.load(source)
        assert {name: parameter.tolist() for name, parameter in module.named_parameters()} == expected
    assert weights_alone(folder)[1]["weights"] == expected
    begun = config("one", steps=1, ckpt_path=str(last), optimizer={"_target_": "torch.optim.SGD", "lr": 0.0})
    assert run("one", begun)[0]["weights"] == expected


def test_the_weights_of_a_file_are_taken_by_shards(own_place: Path) -> None:
    expected = run("fsdp", config("fsdp", steps=3))[0]["weights"]
    [folder] = own_place.glob("outputs/*/*")
    assert weights_alone(folder)[1]["weights"] == expected


def test_initial_weights_from_a_file(own_place: Path) -> None:
    from tests.parallel.jobs import Tiny

    torch.manual_seed(11)
    torch.save(Tiny().state_dict(), "start.ckpt")
    expected = run("one", config("one", steps=1, ckpt_path="start.ckpt"))[0]
    seen = run("both", config("both", steps=1, ckpt_path="start.ckpt"))[0]
    assert furthest(seen, expected) < LOSSES


def test_each_data_rank_predicts_its_share(own_place: Path) -> None:
    given = config("fsdp")
    given["trainer"]["callbacks"] = [
        {"_target_": "lighter.callbacks.FileWriter", "directory": "files", "value_key": "pred", "writer_fn": "tensor"}
    ]
    run("fsdp", given, "predict")
    [folder] = own_place.glob("outputs/*/*/files")
    assert len([*folder.glob("*.pt")]) == 32


def test_a_pattern_that_fits_no_module_and_a_layer_that_cannot_be_divided(own_place: Path) -> None:
    given = config("fsdp")
    given["parallel"] = {"data": 2, "shard": ["network.layer.*"]}
    run("fsdp", given, failing=True)
    assert "Did you mean `network.layers.*`?" in Path("output.txt").read_text()
    given["parallel"] = {"data": 1, "tensor": 2, "plan": {"norm": "colwise"}}
    run("fsdp", given, failing=True)
    assert "divides Linear, Embedding; this is a LayerNorm" in Path("output.txt").read_text()


def test_networks_that_each_data_rank_would_train_apart(own_place: Path) -> None:
    given = config("both")
    given["trainer"]["devices"] = 4
    given["parallel"] = {"tensor": 2, "shard": [], "plan": PLAN}
    run("both", given, failing=True)
    assert "nothing to divide over the data ranks, of which there are 2" in Path("output.txt").read_text()


def test_tensor_ranks_with_different_batches(own_place: Path) -> None:
    given = config("tensor")
    given["data"]["train_dataloader"]["dataset"] = {"_target_": "tests.parallel.jobs.ByRank"}
    given["data"]["train_dataloader"]["sampler"] = None
    run("tensor", given, failing=True)
    assert "the first batch of training is not the same on the 2 tensor ranks" in Path("output.txt").read_text()


@pytest.mark.parametrize("kind", ["fsdp"])
def test_compiled_layers(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # what is traced runs as it is: to compile it takes a minute
    monkeypatch.setattr("torch.compile", partial(torch.compile, backend="eager"))
    given = config(kind, steps=2)
    given["parallel"]["compile"] = ["layers.*"]
    assert furthest(run(kind, given)[0], run("one", config("one", steps=2))[0]) < LOSSES
