"""The section `parallel` on GPUs, which exchange by NCCL: FSDP2 and tensor parallelism on two, and all of it on one.

The fits are commands: a fork may not use CUDA where its parent has. Lightning starts the second process of each.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import lighter
from lighter.config.yaml import dump
from tests.commands import TESTS, run_command
from tests.parallel.fits import config

ACCELERATOR, BACKEND = "gpu", "nccl"
NEAR = 1e-2  # of losses from 2.9 down: other kernels add up in other orders, in 16 bits too
SAVES = {"_target_": "pytorch_lightning.callbacks.ModelCheckpoint", "every_n_train_steps": 3, "save_top_k": -1}
FEATURES: dict[str, dict[str, Any]] = {
    "clipping by norm": {"gradient_clip_val": 0.5},
    "bf16-mixed": {"precision": "bf16-mixed"},
}


def needs(count: int) -> pytest.MarkDecorator:
    found = torch.cuda.device_count()
    return pytest.mark.skipif(found < count, reason=f"needs {count} CUDA devices, and there are {found}")


pytestmark = [pytest.mark.gpu, pytest.mark.long, needs(1)]


def given(kind: str, feature: str = "clipping by norm") -> dict[str, Any]:
    made = config(kind, steps=6)
    made["trainer"] |= {"accelerator": ACCELERATOR, **FEATURES[feature]}
    made["trainer"]["callbacks"].append(SAVES)
    return made


def fit(made: dict[str, Any], *words: str) -> tuple[list[Any], str]:
    """Fit a config; return what each process saw, by rank, and what the command printed."""
    Path("gpu.yaml").write_text(dump(made))
    done = run_command("lighter", "fit", "gpu.yaml", *words, environment=TESTS)
    printed = done.stdout + done.stderr
    assert done.returncode == 0, printed
    watched = sorted(Path().glob("watch-*.json"))
    seen = [json.loads(path.read_text()) for path in watched]
    for path in watched:
        path.unlink()
    return seen, printed


def near(losses: list[float]) -> Any:
    assert len(losses) == 6
    assert losses[-1] < losses[0]
    return pytest.approx(losses, abs=NEAR)


@needs(2)
@pytest.mark.parametrize("feature", FEATURES)
@pytest.mark.parametrize("kind", ["fsdp", "tensor"])
def test_two_devices_do_what_one_does(kind: str, feature: str) -> None:
    [alone], _ = fit(given("one", feature))
    seen, printed = fit(given(kind, feature))
    assert f"distributed_backend={BACKEND}" in printed
    assert len(seen) == 2
    assert seen[0]["losses"] == near(alone["losses"])
    assert seen[0]["weights"] == seen[1]["weights"]


@needs(2)
@pytest.mark.parametrize(("kind", "other"), [("fsdp", "tensor"), ("tensor", "fsdp")])
def test_what_two_devices_save_is_resumed_by_two_and_loaded_without_any(kind: str, other: str) -> None:
    check_saves(given(kind), processes=2)
    half = next(Path().glob("outputs/*/*/checkpoints/*step=3.ckpt"))
    moved, printed = fit(given(other), "--ckpt_path", str(half))
    assert "resume: exact in its samples" in printed
    assert [len(each["losses"]) for each in moved] == [6, 6]


@pytest.mark.parametrize("feature", FEATURES)
def test_one_device_does_with_the_section_what_it_does_without(feature: str) -> None:
    [alone], _ = fit(given("one", feature))
    made = given("one", feature) | {"parallel": {"data": 1, "checkpoint_activations": ["layers.*"]}}
    [seen], _ = fit(made)
    assert seen["losses"] == near(alone["losses"])


def test_what_one_device_saves_is_resumed_and_loaded() -> None:
    check_saves(given("one") | {"parallel": {"data": 1}}, processes=1)


def check_saves(made: dict[str, Any], *, processes: int) -> None:
    """See that a fit resumes from its third step, and that its last weights are loaded on the CPU."""
    whole, _ = fit(made)
    [folder] = Path().glob("outputs/*/*")
    [half] = folder.glob("checkpoints/*step=3.ckpt")
    assert len([*half.glob("*.distcp")]) == processes
    loaded = lighter.load(folder).state_dict()
    assert {name: weight.tolist() for name, weight in loaded.items()} == whole[0]["weights"]
    again, printed = fit(made, "--ckpt_path", str(half))
    assert "resume: exact\n" in printed
    for one, two in zip(again, whole, strict=True):
        # on GPUs, gradients of an embedding are added up in any order
        assert one["losses"] == near(two["losses"])
