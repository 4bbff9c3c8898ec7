"""Weights that are averaged, before and after their averaging begins."""

from __future__ import annotations

from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EMAWeightAveraging, WeightAveraging
from torch import nn

import lighter
from lighter import Runner
from tests.jobs import Classifier, loader, mlp
from tests.runs.resume.jobs import newest


class FromEpoch(WeightAveraging):
    """A plain mean of the weights at the ends of the epochs from one on."""

    def __init__(self, first: int) -> None:
        super().__init__()
        self.first = first

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        return epoch_idx is not None and epoch_idx >= self.first


class Late(Classifier):
    """Makes its network in a hook."""

    def configure_model(self) -> None:
        if self.network is None:
            self.network = mlp()


class Seen(pl.Callback):
    """The weights that validations see, beside those that train."""

    pairs: list[tuple[torch.Tensor, torch.Tensor]] = []

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self.trained = pl_module.network[0].weight

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.last = pl_module.network[0].weight.detach().clone()

    def on_validation_batch_start(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        if not trainer.sanity_checking:
            Seen.pairs.append((pl_module.network[0].weight.detach().clone(), self.last))


LATE = {
    "by epoch": {"_target_": f"{__name__}.FromEpoch", "first": 9},
    "by step": {"_target_": "pytorch_lightning.callbacks.EMAWeightAveraging", "update_starting_at_step": 999},
}


@pytest.mark.parametrize("target", ["lighter.Trainer", "pytorch_lightning.Trainer"])
@pytest.mark.parametrize("case", LATE)
def test_what_has_not_begun_to_be_averaged_is_as_trained(config: dict[str, Any], case: str, target: str) -> None:
    Seen.pairs = []
    seen = {"_target_": f"{__name__}.Seen"}
    config["trainer"] |= {"_target_": target, "max_epochs": 2, "callbacks": [LATE[case], seen]}
    outcome = Runner().execute("fit", [config])
    assert Seen.pairs
    assert all(torch.equal(validated, trained) for validated, trained in Seen.pairs)
    final = outcome.trainer.lightning_module.network[0].weight
    assert torch.equal(final, Seen.pairs[-1][1])
    file = max((newest() / "checkpoints").glob("*.ckpt"), key=lambda path: path.stat().st_mtime)
    assert torch.equal(torch.load(file, weights_only=True)["state_dict"]["network.0.weight"], final)


def test_what_has_begun_is_averaged(config: dict[str, Any]) -> None:
    Seen.pairs = []
    average = {"_target_": f"{__name__}.FromEpoch", "first": 1}
    config["trainer"] |= {
        "max_epochs": 4,
        "limit_val_batches": 1,
        "callbacks": [average, {"_target_": f"{__name__}.Seen"}],
    }
    Runner().run("fit", [config])
    ends = [trained for _, trained in Seen.pairs]
    validated = [seen for seen, _ in Seen.pairs]
    assert len(ends) == 4
    assert torch.equal(validated[1], ends[1])
    assert torch.equal(validated[2], ends[1]), "a validation comes before the end of its epoch"
    torch.testing.assert_close(validated[3], (ends[1] + ends[2]) / 2)


@pytest.mark.parametrize("kind", [pl.Trainer, lighter.Trainer])
def test_a_module_that_makes_nothing_in_configure_model_is_not_warned_of_it(kind: type[pl.Trainer]) -> None:
    """And one that does is: warnings are errors here."""
    quiet: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    adam = lambda params: torch.optim.Adam(params)  # noqa: E731
    with torch.device("meta"):
        without_weights = mlp()
    for make, network in ((Classifier, mlp()), (Classifier, without_weights), (Late, None)):
        module = make(network, nn.CrossEntropyLoss(), optimizer=adam)
        trainer = kind(
            max_epochs=1, limit_train_batches=1, accelerator="cpu", callbacks=[EMAWeightAveraging()], **quiet
        )
        if make is Late:
            with pytest.warns(UserWarning, match="overrides the configure_model"):
                trainer.fit(module, loader(0, 64), loader(64, 96))
        else:
            trainer.fit(module, loader(0, 64), loader(64, 96))
