"""How each dataloader of a fit goes on in the middle of an epoch, and what is said about it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from torch.utils.data import DataLoader, IterableDataset

from lighter.trainer.exact.samples import KeyedBatches, Place

log = logging.getLogger("lighter")

# workers that persist hold on to what they were begun with, from one fit to the next
_KEYED: WeakKeyDictionary[DataLoader, KeyedBatches] = WeakKeyDictionary()


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
    """The training dataloaders of a fit.

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
        self._replaced: list[tuple[DataLoader, str, KeyedBatches]] = []

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
        self._replaced, self._stateful = [], []

    def _take(self, loader: Any) -> str:
        """Prepare a loader. Returns why it cannot go on within an epoch; nothing if it can."""
        if is_stateful(loader):
            self._stateful.append(loader)
            return ""
        if isinstance(loader, (list, tuple)):
            self.replays = True
            return ""
        if not isinstance(loader, DataLoader):
            return f"a {type(loader).__name__} without state_dict and load_state_dict"
        if isinstance(loader.dataset, IterableDataset):
            return "an iterable dataset without state"
        name = "sampler" if loader.batch_sampler is None else "batch_sampler"
        inner = vars(loader)[name]
        if isinstance(inner, KeyedBatches):  # the same loader twice
            return ""
        keyed = _KEYED.setdefault(loader, KeyedBatches(inner, loader))
        keyed.place = self.place
        vars(loader)[name] = keyed  # torch allows no setting of the attribute
        self._replaced.append((loader, name, keyed))
        return ""

    def state(self) -> list[Any]:
        """The states of the loaders that have one."""
        return [loader.state_dict() for loader in self._stateful]

    def load(self, states: Sequence[Any]) -> None:
        """Let the loaders that have a state go on from it."""
        for loader, state in zip(self._stateful, states, strict=False):
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
