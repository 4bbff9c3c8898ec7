from __future__ import annotations

from pytorch_lightning.utilities.model_helpers import is_overridden

from lighter import LighterDataModule
from tests.jobs import loader


def test_a_loader_that_is_not_given_does_not_exist_for_lightning() -> None:
    loaders = {"a": loader(0, 32), "b": loader(32, 64)}
    data = LighterDataModule(train_dataloader=loaders, val_dataloader=[loader(0, 32)])
    assert is_overridden("train_dataloader", data)
    assert data.train_dataloader() is loaders
    assert len(data.val_dataloader()) == 1
    assert not is_overridden("test_dataloader", data)
    assert not is_overridden("predict_dataloader", data)
