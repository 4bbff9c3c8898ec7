from __future__ import annotations

from tests.jobs import Classifier


class OnFirstRankOnly(Classifier):
    """A loss that only one rank ever returns."""

    def validation_step(self, batch, batch_idx):
        loss = self.criterion(self(batch[0]), batch[1])
        named = {"total": loss, "first": loss} if self.global_rank == 0 else {"total": loss}
        return {"loss": named}


class NothingOnSecondRank(Classifier):
    """One rank's steps return nothing and update nothing."""

    def validation_step(self, batch, batch_idx):
        return super().validation_step(batch, batch_idx) if self.global_rank == 0 else None
