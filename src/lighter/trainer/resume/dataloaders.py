"""Choose and log how each dataloader of a fit resumes within an epoch."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from torch.utils.data import DataLoader, IterableDataset

from lighter._lightning.resume import draw_from
from lighter.trainer.resume.dealing import PLAIN, Order, order_of
from lighter.trainer.resume.samplers import Keyed, KeyedBatches, Place

log = logging.getLogger("lighter")

FROM_START, LIGHTNINGS, NOT_EXACT = "from the epoch's start", "as Lightning does", "not exact"
SAMPLES = "exact in its samples"

Size = tuple[int | None, int | None]  # how many batches, and of how many samples

# persistent workers hold on to what they were begun with, from one fit to the next
_KEYED: WeakKeyDictionary[DataLoader, Keyed] = WeakKeyDictionary()


class ResumeChoice(NamedTuple):
    """The way in which a fit resumes from a checkpoint within an epoch, and its reason."""

    # `exact`; `not exact` where all resumes but what the reason names; `from the epoch's start` where the data cannot
    # be found again at the batch that comes next; `exact in its samples` where other processes had begun the epoch; or
    # `as Lightning does`
    name: str
    # empty for `exact`, but for what it rests on
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.reason})" if self.reason else self.name


class States(NamedTuple):
    """The states of the loaders that have one, and of their datasets in this process; None for what has none."""

    loaders: Sequence[Any] = ()
    datasets: Sequence[Any] = ()
    # whether a limit of steps or of time ended the epoch early; as in Lightning, the next one continues it
    is_cut: bool = False


class Loaders:
    """The dataloaders of a training, or of a validation in it."""

    def __init__(self) -> None:
        # where the next iteration begins
        self.place = Place()
        self.choice = ResumeChoice("exact")
        # whether to resume means to load the batches of the epoch again: several loaders, each with its own end
        self.replays = False
        # how many batches each has and of how many samples, None where it does not say; None for a loader of unknown
        # length that resumes by its state, whatever its batches
        self.sizes: list[Size | None] = []
        # how each orders its samples
        self.orders: list[Order | None] = []
        self._stateful: list[Any] = []
        # those of the stateful loaders; None where the loader's state is all there is
        self._datasets: list[Any] = []
        # states of loaders, by the batches that were fetched
        self._noted: dict[int, Sequence[Any]] = {}
        # those at the beginning of the epoch
        self._begun = States()
        # those of a checkpoint, until a batch is trained; and the epoch that resumes from them
        self._loaded: States | None = None
        self._loaded_in = 0
        self._replaced: list[tuple[DataLoader, str, Keyed]] = []
        self._borrowed: list[tuple[Keyed, Place | None, int]] = []

    def take(self, loaders: Sequence[Any]) -> None:
        """Take the dataloaders of an epoch; the batch samplers of torch's are ours until `release`."""
        self.release()
        self.place.begun = {}
        self._stateful, self.replays, reasons = [], len(loaders) > 1, []
        for number, loader in enumerate(loaders):
            if isinstance(loader, DataLoader):
                self._replace_sampler(loader, number)
            reasons.append(self._take(loader))
        self._datasets = [one.dataset if isinstance(one, DataLoader) else None for one in self._stateful]
        self.sizes = [size_of(loader, by_state=any(loader is one for one in self._stateful)) for loader in loaders]
        self.orders = [order_of(loader) for loader in loaders]
        self.choice = ResumeChoice("exact")
        if any(reasons):
            self.choice = ResumeChoice(FROM_START, next(filter(None, reasons)))
        elif self._stateful:
            name = type(self._stateful[0]).__name__
            self.choice = ResumeChoice("exact", f"by the state of {name}")
            if any(map(keeps_its_state, self._stateful)):
                self.choice = ResumeChoice(LIGHTNINGS, f"persistent workers of {name} have a state between epochs")

    def open(self) -> None:
        """Prepare for the loop to fetch a batch, for which a loader may begin anew."""
        self.place.in_loop = True

    def close(self) -> None:
        self.place.in_loop = False

    @contextmanager
    def iterated(self) -> Iterator[None]:
        """Let the loop itself begin iterations of the loaders."""
        self.open()
        try:
            yield
        finally:
            self.close()

    @property
    def samplers(self) -> list[Any]:
        """The dataloaders' own samplers of batches."""
        return [keyed.inner for _, _, keyed in self._replaced]

    def release(self) -> None:
        """Give the dataloaders their own batch samplers back."""
        for loader, name, keyed in self._replaced:
            vars(loader)[name], keyed.place = keyed.inner, None
        for keyed, place, number in reversed(self._borrowed):
            keyed.place, keyed.number = place, number
        self._replaced, self._borrowed = [], []

    def _replace_sampler(self, loader: DataLoader, number: int) -> None:
        name = "sampler" if loader.batch_sampler is None else "batch_sampler"
        inner = vars(loader)[name]
        if isinstance(inner, Keyed):  # a loader that is there twice, or for training too
            if inner.place is not self.place:
                self._borrowed.append((inner, inner.place, inner.number))
                inner.place, inner.number = self.place, number
        else:
            kind = Keyed if isinstance(loader.dataset, IterableDataset) else KeyedBatches
            keyed = _KEYED.setdefault(loader, kind(inner, loader))
            keyed.place, keyed.number = self.place, number
            vars(loader)[name] = keyed  # torch refuses to set the attribute
            self._replaced.append((loader, name, keyed))
        draw_from(vars(loader)[name], loader)

    def _take(self, loader: Any) -> str:
        """Find how a loader resumes within an epoch. Returns why it cannot; nothing if it can."""
        is_torchs = isinstance(loader, DataLoader)
        is_stream = is_torchs and isinstance(loader.dataset, IterableDataset)
        if is_stateful(loader) and (not is_torchs or is_stateful(loader.dataset)):
            self._stateful.append(loader)
        elif isinstance(loader, (list, tuple)) or (is_stateful(loader) and is_stream):
            self.replays = True
        elif not is_torchs:
            return f"a {type(loader).__name__} without state_dict and load_state_dict"
        elif is_stream:
            return "an iterable dataset without state"
        return ""

    def change(self, sizes: Sequence[Size | None]) -> str:
        """Say how the loaders differ from those that a checkpoint was saved with, by their `sizes`; nothing if not."""
        if len(sizes) != len(self.sizes):
            return f"{len(self.sizes)} dataloaders now, {len(sizes)} then"
        differ = [(now, then) for now, then in zip(self.sizes, sizes, strict=True) if now != then]
        return "the dataloader has {} now, {} then".format(*map(_described, differ[0])) if differ else ""

    def can_deal(self, orders: Sequence[Order | None], then: int, now: int) -> bool:
        """Return whether an epoch that `then` processes began in these orders can be dealt to those of `now`."""
        if len(orders) != 1 or len(self.orders) != 1 or self._stateful or self.replays:
            return False
        [before], [after] = orders, self.orders
        if before is None or after is None or before["samples"] != after["samples"]:
            return False
        # without a distributed sampler, several processes train the same samples
        return all(order["kind"] not in PLAIN or count == 1 for order, count in ((before, then), (after, now)))

    def load(self, states: States | None, trained: int) -> None:
        """Before the first iteration, let the loaders that have a state resume from it, `trained` batches on."""
        if states is not None and self.choice.name == FROM_START:
            states = self._at_end(states)
        self._loaded = self._begun = States((), self._of_datasets()) if states is None else states
        self._loaded_in, self._noted = self.place.clock.epoch, {trained: self._loaded.loaders}
        self._set(self._loaded)

    def begin_epoch(self) -> None:
        """Prepare a new iteration."""
        self.place.begun = {}
        if not self._stateful:
            return
        if self._loaded is None:
            self._begun = self._at_end(self._now())
            return
        if self._loaded_in != self.place.clock.epoch:
            self._loaded, self._loaded_in = self._at_end(self._loaded), self.place.clock.epoch
        self._begun = self._loaded
        # Lightning may have begun an iteration already, which is undone
        self._set(self._loaded)

    def note(self, fetched: int) -> None:
        """Keep the states as they are when so many batches of the epoch are fetched."""
        if self._stateful:
            # Lightning may fetch one ahead, so a checkpoint may be of the batch before
            self._noted = {number: states for number, states in self._noted.items() if number >= fetched - 2}
            self._noted[fetched] = self._now().loaders

    @property
    def have_states(self) -> bool:
        """True if some dataloaders keep their own position."""
        return bool(self._stateful)

    def hand_over(self, fetched: int) -> None:
        """Note that a batch is about to be trained."""
        self._loaded = None
        self.note(fetched)

    def state(self, trained: int | None, *, is_cut: bool = False) -> States:
        """Return the states of the loaders that have one.

        `trained` is the number of the epoch's batches that were trained, None between epochs.
        """
        if is_cut:
            now = self._loaded or self._now()
            return States(self._noted.get(trained or 0, now.loaders), now.datasets, is_cut=True)
        if trained is None:
            return self._at_end(self._loaded or self._now())
        if self.replays or not trained:
            return self._begun
        datasets = self._of_datasets() if self._loaded is None else self._loaded.datasets
        return States(self._noted.get(trained, ()), datasets)

    def _now(self) -> States:
        # copies, as an object may return what it goes on changing
        return States([copy.deepcopy(loader.state_dict()) for loader in self._stateful], self._of_datasets())

    def _of_datasets(self) -> list[Any]:
        return [None if dataset is None else copy.deepcopy(dataset.state_dict()) for dataset in self._datasets]

    def _at_end(self, states: States) -> States:
        """Return what the next epoch begins with, where this one ends with some states."""
        if states.is_cut:
            return states
        # A loader whose end is known by its length, or by a limit, is not over in its own state. It begins anew, with
        # nothing of the iteration before but its dataset's state, as does any of torch's without persistent workers.
        of_loaders = [
            None if has_length(loader) or (isinstance(loader, DataLoader) and not keeps_its_state(loader)) else state
            for loader, state in zip(self._stateful, states.loaders, strict=False)
        ]
        return States(of_loaders, states.datasets)

    def _set(self, states: States) -> None:
        pairs = [
            *zip(self._datasets, states.datasets, strict=False),
            *zip(self._stateful, states.loaders, strict=False),
        ]
        for part, state in pairs:
            if state is not None:
                # a copy, as the states may be loaded again, and objects may keep what they are given
                part.load_state_dict(copy.deepcopy(state))

    @property
    def skips(self) -> bool:
        """True if the next iteration can leave batches out without loading them."""
        return self.choice.name != FROM_START and not self._stateful and not self.replays

    def replay(self, fetcher: Any, batches: int) -> bool:
        """Load what was trained before, where there is no other way past it; return whether that was needed."""
        if self.choice.name == FROM_START or not self.replays:
            return False
        log.info("resume: %d batches of this epoch are loaded again", batches)
        fetcher.fetched -= batches  # Lightning has counted them already
        iterator = getattr(fetcher, "iterator_wrapper", fetcher)  # of steps that take `dataloader_iter`
        for _ in range(batches):
            next(iterator, None)  # there may be fewer now
        return True


def is_stateful(loader: object) -> bool:
    """Return whether a loader keeps account of where it is, as torchdata's `StatefulDataLoader` does."""
    return all(callable(getattr(loader, name, None)) for name in ("state_dict", "load_state_dict"))


def has_length(loader: Any) -> bool:
    """Return whether a loader knows how many batches it has."""
    try:
        len(loader)
    except (TypeError, NotImplementedError):
        return False
    return True


def keeps_its_state(loader: object) -> bool:
    """Return whether workers keep their dataset's state from one epoch to the next."""
    # that state is ahead of the batches that were trained: workers load samples in advance
    return isinstance(loader, DataLoader) and loader.persistent_workers


def size_of(loader: Any, *, by_state: bool) -> Size | None:
    """Return how many batches a loader has, and of how many samples; None for one that resumes `by_state` alone."""
    if by_state and not has_length(loader):
        return None
    batch_size = getattr(loader, "batch_size", None)
    return len(loader) if has_length(loader) else None, batch_size if isinstance(batch_size, int) else None


def _described(size: Size | None) -> str:
    batches, samples = size or (None, None)
    return ("" if batches is None else f"{batches} ") + ("batches" if samples is None else f"batches of {samples}")
