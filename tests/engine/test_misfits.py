"""What does not fit the module, which only a run can tell, is a problem with a place in the config."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lighter import Runner
from lighter.errors import ConfigError


@pytest.mark.parametrize("by", ["EarlyStopping", "ModelCheckpoint", "ReduceLROnPlateau"])
def test_a_monitor_that_nothing_logged_is_told_what_there_is(config: dict[str, Any], by: str) -> None:
    """Losses and metrics come first: the optimizers' values are logged before them, and hide them in a long list."""
    if by == "ReduceLROnPlateau":
        scheduler = {"_target_": f"torch.optim.lr_scheduler.{by}"}
        config["model"]["scheduler"] = {"scheduler": scheduler, "monitor": "val/loss/total/epoch"}
    else:
        callback = {"_target_": f"pytorch_lightning.callbacks.{by}", "monitor": "val/loss/total/epoch"}
        config["trainer"]["callbacks"] = [callback]
    with pytest.raises(ConfigError) as caught:
        Runner().run("fit", [config])
    where = "model::scheduler" if by == "ReduceLROnPlateau" else "trainer::callbacks::0"
    first, *_, last = [line.strip() for line in str(caught.value).splitlines()]
    assert first.endswith(f"{where}::monitor: nothing has logged `val/loss/total/epoch`")
    assert "There is: val/loss/epoch, val/metrics/accuracy/epoch," in str(caught.value)
    assert last.endswith("train/lr.")


FREEZER = "{_target_: lighter.callbacks.Freezer, names: [network, backbon]}"
MISFITS = {
    "freezer": (f"trainer: {{callbacks: [{FREEZER}]}}", "1:78: trainer::callbacks::0::names::1: Freezer: no "),
    "finetune": ("model: {finetune_cfg: [hed]}", "1:24: model::finetune_cfg::0: `finetune_cfg`: no "),
    "group": (
        "model: {optimizer: {params: [{params: '*.wait'}, {params: null}]}}",
        "1:39: model::optimizer::params::0::params: no parameter's name fits the pattern `*.wait`",
    ),
    "type": (
        "model: {optimizer: {params: [{params: {type: [norm, Nrm]}}, {params: null}]}}",
        "1:53: model::optimizer::params::0::params::type::1: no parameter is of the type `Nrm`",
    ),
    "weights": ("model: {loss_weights: {ce: 1.0}}", "1:23: model::loss_weights: `loss_weights` needs named losses"),
}


@pytest.mark.parametrize(("text", "message"), MISFITS.values(), ids=MISFITS)
def test_what_does_not_fit_the_module_has_a_place(
    config: dict[str, Any], own_place: Path, text: str, message: str
) -> None:
    (own_place / "more.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        Runner().run("fit", [config, "more.yaml"])
    assert str(caught.value).startswith(f"more.yaml:{message}")


def test_a_value_that_an_override_set_is_shown_there(config: dict[str, Any]) -> None:
    config["trainer"]["callbacks"] = [{"_target_": "lighter.callbacks.Freezer", "names": "$'2'"}]
    with pytest.raises(ConfigError, match=r"^command line: trainer::callbacks::0::until_epoch: `until_epoch` counts"):
        Runner().run("fit", [config, "trainer::callbacks::0::until_epoch=-1"])
