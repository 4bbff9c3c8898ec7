"""Complaints of Lightning's, and needs of its callbacks, that come up while a run is made or runs: with a place."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import distributed as dist

from lighter import Runner
from lighter.errors import ConfigError
from tests.jobs import Classifier

OF_LIGHTNING = "pytorch_lightning.callbacks."


class Logs(Classifier):
    def on_validation_epoch_end(self) -> None:
        self.log("val_score", 1.0)


def callback(name: str, **arguments: Any) -> dict[str, Any]:
    return {"trainer": {"callbacks": [{"_target_": f"{OF_LIGHTNING}{name}", **arguments}]}}


PLATEAU = {"scheduler": {"_target_": "torch.optim.lr_scheduler.ReduceLROnPlateau"}, "monitor": "val_scores"}
STRATEGY = {"_target_": "pytorch_lightning.strategies.ModelParallelStrategy"}
COMPLAINTS: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "a submodule that is not there": (
        callback("BackboneFinetuning"), "trainer::callbacks::0",
        "BackboneFinetuning needs an attribute `backbone` of `model`, and Logs has none", "It has: criterion, ",
    ),
    "an attribute that is misspelt": (
        callback("LearningRateFinder", attr_name="loging_hook"), "trainer::callbacks::0::attr_name",
        "could not find this as a field", "",
    ),
    "an attribute for the batch size": (
        callback("BatchSizeFinder", batch_arg_name="batchsize"), "trainer::callbacks::0::batch_arg_name",
        "Field batchsize not found", "",
    ),
    "a monitor": (
        callback("EarlyStopping", monitor="val_scor"), "trainer::callbacks::0::monitor",
        "nothing has logged `val_scor`", "Did you mean `val_score`?",
    ),
    "a monitor of a scheduler": (
        {"model": {"scheduler": PLATEAU}}, "model::scheduler::monitor",
        "nothing has logged `val_scores`", "Did you mean `val_score`?",
    ),
    "learning rates for groups that are not there": (
        callback("StochasticWeightAveraging", swa_lrs=[0.1, 0.1], swa_epoch_start=1), "trainer::callbacks::0",
        "swa_lr must have the same length as optimizer.param_groups", "",
    ),
    "a strategy that needs a hook": (
        {"trainer": {"strategy": STRATEGY}}, "trainer::strategy", "required to override the `configure_model()`", "",
    ),
    "an accelerator that is not there": (
        {"trainer": {"accelerator": "gpu"}}, "trainer::accelerator", "No supported gpu backend found!", "",
    ),
    "an accelerator whose package is not there": (
        {"trainer": {"accelerator": "tpu"}}, "trainer", "Requirement 'torch_xla", "",
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated")
@pytest.mark.parametrize("case", COMPLAINTS)
def test_it_is_a_problem_of_the_config(case: str, config: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # otherwise Lightning sets it for a strategy
    for name in ("LOCAL_RANK", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT"):  # as it does these
        monkeypatch.setenv(name, "0")
        monkeypatch.delenv(name)
    change, path, message, hint = COMPLAINTS[case]
    config["model"]["_target_"] = f"{__name__}.Logs"
    config["trainer"] |= {"max_epochs": 2}
    if "gpu" in change.get("trainer", {}).values() and torch.cuda.is_available():
        pytest.skip("there is one here")
    with pytest.raises(ConfigError) as raised:
        Runner().run("fit", [config, change])
    if dist.is_initialized():
        dist.destroy_process_group()
    [problem] = raised.value.problems
    assert (problem.path, message in problem.message) == (path, True)
    assert hint in problem.hint
