"""`LighterDataModule`: dataloaders from a config."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping
from typing import Any, ClassVar

from pytorch_lightning import LightningDataModule


class LighterDataModule(LightningDataModule):
    """A data module made of ready dataloaders.

    Each argument is a dataloader, or a list or dict of them, as Lightning takes them. One that is not given does not
    exist for Lightning. A stage builds only the loaders that it needs. For anything more, downloads or splits that
    depend on the stage, write a `LightningDataModule` of your own; it is configured in the same way.
    """

    needed_for: ClassVar[Mapping[str, Collection[str]]] = {
        "train_dataloader": {"train"},
        "val_dataloader": {"val"},
        "test_dataloader": {"test"},
        "predict_dataloader": {"predict"},
    }

    def __init__(
        self,
        train_dataloader: Any = None,
        val_dataloader: Any = None,
        test_dataloader: Any = None,
        predict_dataloader: Any = None,
    ) -> None:
        super().__init__()
        given = {
            "train_dataloader": train_dataloader,
            "val_dataloader": val_dataloader,
            "test_dataloader": test_dataloader,
            "predict_dataloader": predict_dataloader,
        }
        for name, loaders in given.items():
            setattr(self, name, _returning(loaders) if loaders is not None else _absent(name))


def _returning(loaders: Any) -> Callable[[], Any]:
    return lambda: loaders


def _absent(name: str) -> Callable[[], Any]:
    """Lightning looks through `__wrapped__` and finds its own hook: the loader does not exist."""
    hook = functools.partial(getattr(LightningDataModule, name), None)
    return functools.wraps(getattr(LightningDataModule, name))(hook)
