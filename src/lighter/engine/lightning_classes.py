"""Names of Lightning's package, and which of its hooks a user has written."""

from __future__ import annotations

from pytorch_lightning import LightningDataModule, LightningModule
from pytorch_lightning.utilities import model_helpers

NAMES = ("pytorch_lightning", "lightning.pytorch")  # of the same modules: see `lightning_alias`


def is_overridden(name: str, holder: object) -> bool:
    """Return whether a module or data module has a hook or step of the user's, as Lightning sees it."""
    if not isinstance(holder, (LightningModule, LightningDataModule)):
        return False
    return model_helpers.is_overridden(name, holder)
