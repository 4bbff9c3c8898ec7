"""Exports of fits: averaged weights, compiled networks, half and double precision, members of an experiment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import lighter
from tests.exporting.runs import config_of, export, loader, made


def fit_config(**trainer: Any) -> dict[str, Any]:
    config = config_of({"_target_": "tests.jobs.mlp"})
    config["model"]["optimizer"] = {"_target_": "torch.optim.AdamW", "lr": 0.01}
    config["data"]["train_dataloader"] = loader(40, 104)
    config["trainer"] |= {"enable_progress_bar": False, **trainer}
    return config


def exported(*words: str, run: str = "last") -> dict[str, Any]:
    result = export("pt2", "--json", *words, run=run)
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


@pytest.mark.long
def test_averaged_weights_are_those_that_were_validated(own_place: Path) -> None:
    average = {"_target_": "pytorch_lightning.callbacks.EMAWeightAveraging", "decay": 0.5}
    fitted = lighter.Runner().execute("fit", [fit_config(callbacks=[average], max_epochs=2)])
    facts = exported()
    assert facts["verification"]["metrics"]["val/accuracy"]["recorded"] is not None
    weights = torch.export.load(Path(facts["path"], "model.pt2")).state_dict
    saved = torch.load(fitted.folder.checkpoints / "best.ckpt")["state_dict"]
    assert torch.equal(weights["0.weight"], saved["network.0.weight"])


@pytest.mark.long
def test_a_compiled_network_is_exported_as_what_was_compiled(own_place: Path) -> None:
    config = fit_config()
    network = config["model"]["network"]
    config["model"]["network"] = {"_target_": "torch.compile", "model": network, "backend": "eager"}
    lighter.Runner().execute("fit", [config])
    facts = exported()
    assert facts["network"]["class"] == "torch.nn.modules.container.Sequential"
    assert "recorded" in facts["verification"]["metrics"]["val/accuracy"]


@pytest.mark.long
@pytest.mark.parametrize(
    ("precision", "weights"), [("bf16-mixed", "float32"), ("bf16-true", "float32"), ("64-true", "float64")]
)
def test_precision(own_place: Path, precision: str, weights: str) -> None:
    """What was trained in less is exported in single precision, and its metrics are those of single precision."""
    lighter.Runner().execute("fit", [fit_config(precision=precision)])
    # the losses that were recorded in half precision are others
    facts = exported("--tolerance", "0.05")
    assert facts["network"]["trained_in"] == precision
    assert facts["network"]["weights"] == [weights]
    assert all(each["difference"] <= 1e-4 for each in facts["verification"]["metrics"].values())


def test_the_card_of_a_member_has_the_interval_over_the_seeds(own_place: Path) -> None:
    for seed, accuracy in enumerate((0.5, 0.6, 0.7)):
        identity = f"experiments/2026-01-02/digits/trial-0000-seed-{seed}"
        run = made(own_place, config_of({"_target_": "tests.jobs.mlp"}), identity, metrics={"val/accuracy": accuracy})
    facts = exported(run=str(run.path))
    assert (facts["seeds"]["seeds"], facts["seeds"]["folds"]) == ([0, 1, 2], [])
    values = facts["seeds"]["metrics"]["val/accuracy"]
    assert (values["values"], values["mean"]) == ([0.5, 0.6, 0.7], pytest.approx(0.6))
    # Student's t with two degrees of freedom: 4.303 x 0.1 / sqrt(3)
    assert values["interval"] == pytest.approx([0.6 - 0.2484, 0.6 + 0.2484], abs=1e-4)
    card = Path(facts["path"], "MODEL_CARD.md").read_text()
    assert "Of the runs with seeds 0, 1, 2, of which this is one:" in card
    assert "| `val/accuracy` | 0.6 | 0.351586 to 0.848414 |" in card
