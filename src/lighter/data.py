"""`LighterDataModule`: dataloaders from a config."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, ClassVar

from pytorch_lightning import LightningDataModule

from lighter.parts.hooks import ExistsIf


def _loader(name: str) -> ExistsIf:
    # Lightning asks the class whether a hook is overridden, so each loader is one that exists by instance
    def loader(self: LighterDataModule) -> Any:
        return self.loaders[name]

    loader.__name__ = name
    return ExistsIf(loader, lambda data: data.loaders[name] is not None, f"Add `data::{name}`.")


class LighterDataModule(LightningDataModule):
    """A data module made of ready dataloaders.

    Each argument is a dataloader, or a list or dict of them, as Lightning takes them. One that is missing does not
    exist for Lightning. A stage builds only the loaders that it needs. In a config, `data::split` cuts one dataset into
    training and validation. For anything more, downloads or what depends on the stage, write a `LightningDataModule` of
    your own; it is configured in the same way.
    """

    needed_for: ClassVar[Mapping[str, Collection[str]]] = {
        "train_dataloader": {"train"},
        "val_dataloader": {"val"},
        "test_dataloader": {"test"},
        "predict_dataloader": {"predict"},
    }

    def __init__(
        self,
        train_dataloader: object = None,
        val_dataloader: object = None,
        test_dataloader: object = None,
        predict_dataloader: object = None,
    ) -> None:
        super().__init__()
        self.loaders = {
            "train_dataloader": train_dataloader,
            "val_dataloader": val_dataloader,
            "test_dataloader": test_dataloader,
            "predict_dataloader": predict_dataloader,
        }

    train_dataloader = _loader("train_dataloader")
    val_dataloader = _loader("val_dataloader")
    test_dataloader = _loader("test_dataloader")
    predict_dataloader = _loader("predict_dataloader")
