"""The random numbers of a fit: which seed is set at which moment of the loops."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lighter.parallel.ranks import data_rank
from lighter.trainer.resume.random_keys import ORDER, VALIDATION
from lighter.trainer.resume.random_streams import Streams, seed_of_fit
from lighter.trainer.resume.samplers import Place
from lighter.trainer.resume.state import ResumeState

if TYPE_CHECKING:
    from lighter.trainer.loops.fit import LeanFitLoop


class FitNumbers:
    """Seeds the generators at each moment of a fit; does nothing without `exact_resume`."""

    def __init__(self, loop: LeanFitLoop) -> None:
        self._loop = loop
        # of this process; None without `exact_resume`
        self.streams: Streams | None = None

    def begin(self, saved: ResumeState | None) -> Streams:
        """Begin the numbers of a fit, or continue those of a checkpoint, and have the dataloaders draw from them."""
        loop, trainer = self._loop, self._loop.trainer
        # the first process's, as all of them have to draw the same order
        seed = saved.seed if saved is not None else seed_of_fit(trainer.strategy.broadcast)
        rank = data_rank(trainer.global_rank)
        self.streams = Streams(seed, rank, trainer.strategy.root_device)
        place = loop.loaders.place
        place.seed, place.rank, place.clock = seed, rank, loop
        place.before_seeding = self._leave_step
        place.trained = (0, 0)
        return self.streams

    @property
    def _batch(self) -> int:
        """The number of batches that were begun, over all epochs."""
        return self._loop.epoch_loop.batch_progress.total.ready

    def seed_for(self, purpose: int, *place: int) -> None:
        """Begin the numbers of a moment that is no step: the start of the fit, or a start or an end of an epoch."""
        if self.streams is not None:
            self.streams.seed_for(purpose, *place)

    def seed_order(self) -> None:
        """Begin the numbers of an epoch's dataloaders: above all, what their workers are seeded with."""
        self.seed_for(ORDER, self._loop.epoch)

    def seed_validation(self, *batch: int) -> None:
        """Begin the numbers of a validation, or of one of its batches."""
        if self.streams is not None:
            self.streams.seed_for(VALIDATION, self._batch, *batch)

    def place_of_validation(self) -> Place:
        """Return where the dataloaders of a validation begin: anew, with numbers of its own."""
        place = Place()
        if self.streams is not None:
            key = self.streams.shared_key(VALIDATION, self._batch)
            place.seed, place.rank = int.from_bytes(key[:7], "little"), self.streams.rank
            place.clock = self._loop
        return place

    def begin_step(self) -> None:
        """Begin the numbers of the batch that has been loaded and is trained next."""
        if self.streams is None:
            return
        loop = self._loop
        if loop.loaders.have_states:
            fetcher = loop.data_fetcher
            loop.loaders.hand_over(fetcher.fetched + (not fetcher.done))  # Lightning counts afterwards
        self.streams.begin_step(loop.epoch_loop.batch_progress.total.ready)

    def _leave_step(self) -> None:
        if self.streams is not None:
            self.streams.leave_step(self._batch)
