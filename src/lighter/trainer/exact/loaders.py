"""How each dataloader of a fit goes on in the middle of an epoch, and what is said about it."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from torch.utils.data import DataLoader, IterableDataset

from lighter.trainer.exact.samples import Keyed, KeyedBatches, KeyedTurns, Place

log = logging.getLogger("lighter")

# workers that persist hold on to what they were begun with, from one fit to the next
_KEYED: WeakKeyDictionary[DataLoader, Keyed] = WeakKeyDictionary()


class ResumeChoice(NamedTuple):
    """How a fit will go on from a checkpoint in the middle of an epoch, and why.

    Attributes:
        name: `exact`; `from the epoch's start` where the data cannot be found again at the batch that comes next; or
            `as Lightning does`.
        reason: empty for `exact`, but for what it rests on.
    """

    name: str
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.reason})" if self.reason else self.name


class Loaders:
    """The dataloaders of a training, or of a validation in it.

    Attributes:
        place: where the next iteration begins.
        choice: how they go on.
        replays: whether going on means to load the batches of the epoch again: several loaders, each with its own end.
    """

    def __init__(self) -> None:
        self.place = Place()
        self.choice = ResumeChoice("exact")
        self.replays = False
        self._stateful: list[Any] = []
        self._noted: dict[int, Sequence[Any]] = {}  # states, by the batches that were fetched
        self._loaded: Sequence[Any] = []  # states that were loaded, until a batch is trained
        self._is_fresh = True  # whether the epoch was not begun
        self._replaced: list[tuple[DataLoader, str, Keyed]] = []
        self._borrowed: list[tuple[Keyed, Place | None]] = []

    def take(self, loaders: Sequence[Any]) -> None:
        """Take the dataloaders of an epoch; the batch samplers of torch's are ours until `release`."""
        self.release()
        self.replays = len(loaders) > 1
        reasons = [reason for loader in loaders if (reason := self._take(loader))]
        self.choice = ResumeChoice("from the epoch's start", reasons[0]) if reasons else ResumeChoice("exact")
        if self._stateful and not reasons:
            self.choice = ResumeChoice("exact", f"by the state of {type(self._stateful[0]).__name__}")

    def release(self) -> None:
        """Give the dataloaders their own batch samplers back."""
        for loader, name, keyed in self._replaced:
            vars(loader)[name], keyed.place = keyed.inner, None
        for keyed, place in reversed(self._borrowed):
            keyed.place = place
        self._replaced, self._borrowed, self._stateful = [], [], []

    def _take(self, loader: Any) -> str:
        """Prepare a loader. Returns why it cannot go on within an epoch; nothing if it can."""
        if not isinstance(loader, DataLoader):
            return self._take_other(loader)
        streams = isinstance(loader.dataset, IterableDataset)
        name = "sampler" if loader.batch_sampler is None else "batch_sampler"
        inner = vars(loader)[name]
        if isinstance(inner, Keyed):  # a loader that is there twice, or for training too
            self._borrowed.append((inner, inner.place))
            inner.place = self.place
        else:
            keyed = _KEYED.setdefault(loader, (KeyedTurns if streams else KeyedBatches)(inner, loader))
            keyed.place = self.place
            vars(loader)[name] = keyed  # torch allows no setting of the attribute
            self._replaced.append((loader, name, keyed))
        if is_stateful(loader):
            if is_stateful(loader.dataset):
                self._stateful.append(loader)
            elif streams:  # such a loader goes on by loading all again
                self.replays = True
            return ""
        return "an iterable dataset without state" if streams else ""

    def _take_other(self, loader: Any) -> str:
        """Prepare a loader that is none of torch's."""
        if is_stateful(loader):
            self._stateful.append(loader)
            return ""
        if isinstance(loader, (list, tuple)):
            self.replays = True
            return ""
        return f"a {type(loader).__name__} without state_dict and load_state_dict"

    def load(self, states: Sequence[Any], trained: int) -> None:
        """Before the first iteration: let the loaders that have a state go on from it.

        Args:
            states: theirs, if there are any.
            trained: the batches of the epoch that were trained.
        """
        self._set(states)
        self._noted, self._is_fresh, self._loaded = {trained: states}, True, states

    def begin_epoch(self) -> None:
        """Before a new iteration. What was loaded of an epoch that was over is taken back."""
        if self._stateful:
            self._set(self._loaded)
            self._noted = {0: [loader.state_dict() for loader in self._stateful]}

    def note(self, fetched: int) -> None:
        """Keep the states as they are when so many batches of the epoch are fetched; Lightning may fetch one ahead."""
        if self._stateful:
            self._noted = {number: states for number, states in self._noted.items() if number >= fetched - 2}
            self._noted[fetched] = copy.deepcopy([loader.state_dict() for loader in self._stateful])
            self._is_fresh = False

    @property
    def have_states(self) -> bool:
        """Whether some keep account of where they are themselves."""
        return bool(self._stateful)

    def hand_over(self, fetched: int) -> None:
        """A batch is about to be trained."""
        self._loaded = []
        self.note(fetched)

    def state(self, trained: int | None) -> Sequence[Any]:
        """The states of the loaders that have one.

        Args:
            trained: the batches of the epoch that were trained; None between epochs.
        """
        if trained is None and not self._is_fresh:  # one whose end is known by its length is not over in its own state
            return [None if has_length(loader) else loader.state_dict() for loader in self._stateful]
        return self._noted.get(trained or 0, [])

    def _set(self, states: Sequence[Any]) -> None:
        for loader, state in zip(self._stateful, states, strict=False):
            if state is not None:
                loader.load_state_dict(state)

    @property
    def skips(self) -> bool:
        """Whether the next iteration can leave batches out without loading them."""
        return self.choice.name == "exact" and not self._stateful and not self.replays

    def replay(self, fetch: Callable[[], Any], batches: int) -> None:
        """Load what was trained before, where there is no other way past it."""
        if self.choice.name == "exact" and self.replays and not self._stateful:
            log.info("loads %d batches of this epoch again, to go on after them", batches)
            for _ in range(batches):
                fetch()


def is_stateful(loader: Any) -> bool:
    """Whether a loader keeps account of where it is, as torchdata's `StatefulDataLoader` does."""
    return all(callable(getattr(loader, name, None)) for name in ("state_dict", "load_state_dict"))


def has_length(loader: Any) -> bool:
    """Whether a loader knows how many batches it has."""
    try:
        len(loader)
    except (TypeError, NotImplementedError):
        return False
    return True
