"""How each dataloader of a fit goes on in the middle of an epoch, and what is said about it."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from torch.utils.data import DataLoader, IterableDataset

from lighter.trainer.resume.samplers import Keyed, KeyedBatches, KeyedTurns, Place

log = logging.getLogger("lighter")

FROM_START, LIGHTNINGS, NOT_EXACT = "from the epoch's start", "as Lightning does", "not exact"

Size = tuple[int | None, int | None]  # how many batches, and of how many samples

# workers that persist hold on to what they were begun with, from one fit to the next
_KEYED: WeakKeyDictionary[DataLoader, Keyed] = WeakKeyDictionary()


class ResumeChoice(NamedTuple):
    """How a fit will go on from a checkpoint in the middle of an epoch, and why.

    Attributes:
        name: `exact`; `not exact` where all goes on but what the reason names; `from the epoch's start` where the data
            cannot be found again at the batch that comes next; or `as Lightning does`.
        reason: empty for `exact`, but for what it rests on.
    """

    name: str
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.reason})" if self.reason else self.name


class States(NamedTuple):
    """The states of those loaders that have one, and of their datasets in this process; None for what has none.

    Attributes:
        is_cut: whether a limit of steps or of time ended the epoch early. As in Lightning, the next one goes on there.
    """

    loaders: Sequence[Any] = ()
    datasets: Sequence[Any] = ()
    is_cut: bool = False


class Loaders:
    """The dataloaders of a training, or of a validation in it.

    Attributes:
        place: where the next iteration begins.
        choice: how they go on.
        replays: whether going on means to load the batches of the epoch again: several loaders, each with its own end.
        sizes: of each, how many batches it has and of how many samples, None where it does not say; None for one of
            unknown length that goes on by its state, whatever its batches.
    """

    def __init__(self) -> None:
        self.place = Place()
        self.choice = ResumeChoice("exact")
        self.replays = False
        self.sizes: list[Size | None] = []
        self._stateful: list[Any] = []
        self._noted: dict[int, Sequence[Any]] = {}  # states of loaders, by the batches that were fetched
        self._begun = States()  # what the epoch began with
        self._loaded: States | None = None  # what was loaded, until a batch is trained
        self._loaded_in = 0  # the epoch that goes on from there
        self._replaced: list[tuple[DataLoader, str, Keyed]] = []
        self._borrowed: list[tuple[Keyed, Place | None, int]] = []

    def take(self, loaders: Sequence[Any]) -> None:
        """Take the dataloaders of an epoch; the batch samplers of torch's are ours until `release`."""
        self.release()
        self.place.begun = {}
        self._stateful, self.replays = [], len(loaders) > 1
        reasons = [reason for number, loader in enumerate(loaders) if (reason := self._take(loader, number))]
        self.sizes = [None if self._goes_by_state(loader) else size_of(loader) for loader in loaders]
        self.choice = ResumeChoice(FROM_START, reasons[0]) if reasons else ResumeChoice("exact")
        if self._stateful and not reasons:
            name = type(self._stateful[0]).__name__
            self.choice = ResumeChoice("exact", f"by the state of {name}")
            if any(keeps_to_itself(loader) for loader in self._stateful):
                self.choice = ResumeChoice(LIGHTNINGS, f"persistent workers of {name} have a state between epochs")

    @contextmanager
    def iterated(self) -> Iterator[None]:
        """While the loop itself begins iterations of the loaders."""
        self.open()
        try:
            yield
        finally:
            self.close()

    def open(self) -> None:
        """The loop is about to fetch a batch, for which a loader may begin anew."""
        self.place.in_loop = True

    def close(self) -> None:
        """The batch is fetched."""
        self.place.in_loop = False

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

    def _take(self, loader: Any, number: int) -> str:
        """Prepare a loader. Returns why it cannot go on within an epoch; nothing if it can."""
        if not isinstance(loader, DataLoader):
            return self._take_other(loader)
        streams = isinstance(loader.dataset, IterableDataset)
        name = "sampler" if loader.batch_sampler is None else "batch_sampler"
        inner = vars(loader)[name]
        if isinstance(inner, Keyed):  # a loader that is there twice, or for training too
            if inner.place is not self.place:
                self._borrowed.append((inner, inner.place, inner.number))
                inner.place, inner.number = self.place, number
        else:
            keyed = _KEYED.setdefault(loader, (KeyedTurns if streams else KeyedBatches)(inner, loader))
            keyed.place, keyed.number = self.place, number
            vars(loader)[name] = keyed  # torch allows no setting of the attribute
            self._replaced.append((loader, name, keyed))
        if loader.persistent_workers and loader._iterator is not None:  # begun before the fit: keeps the loader's own
            loader._iterator._index_sampler = vars(loader)[name]
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

    def _goes_by_state(self, loader: Any) -> bool:
        return not has_length(loader) and any(loader is one for one in self._stateful)

    def change(self, sizes: Sequence[Size | None]) -> str:
        """How the loaders differ from those that a checkpoint was saved with, whose `sizes` these are, or nothing."""
        if len(sizes) != len(self.sizes):
            return f"{len(self.sizes)} dataloaders now, {len(sizes)} then"
        differ = [(now, then) for now, then in zip(self.sizes, sizes, strict=True) if now != then]
        return f"the dataloader has {_told(differ[0][0])} now, {_told(differ[0][1])} then" if differ else ""

    def load(self, states: States | None, trained: int) -> None:
        """Before the first iteration: let the loaders that have a state go on from it.

        Args:
            states: what was saved, if anything.
            trained: the batches of the epoch that were trained.
        """
        if states is not None and self.choice.name == FROM_START:
            states = self._over(states)
        self._loaded = self._begun = States((), self._datasets()) if states is None else states
        self._loaded_in, self._noted = self.place.clock.epoch, {trained: self._loaded.loaders}
        self._set(self._loaded)

    def begin_epoch(self) -> None:
        """Before a new iteration: Lightning may have begun one already, which is taken back."""
        self.place.begun = {}
        if not self._stateful:
            return
        if self._loaded is None:
            self._begun = self._over(self._now())
        else:
            if self._loaded_in != self.place.clock.epoch:
                self._loaded, self._loaded_in = self._over(self._loaded), self.place.clock.epoch
            self._begun = self._loaded
            self._set(self._loaded)

    def note(self, fetched: int) -> None:
        """Keep the states as they are when so many batches of the epoch are fetched; Lightning may fetch one ahead."""
        if self._stateful:
            self._noted = {number: states for number, states in self._noted.items() if number >= fetched - 2}
            self._noted[fetched] = self._of_loaders()

    @property
    def have_states(self) -> bool:
        """Whether some keep account of where they are themselves."""
        return bool(self._stateful)

    def hand_over(self, fetched: int) -> None:
        """A batch is about to be trained."""
        self._loaded = None
        self.note(fetched)

    def state(self, trained: int | None, *, is_cut: bool = False) -> States:
        """The states of the loaders that have one.

        Args:
            trained: the batches of the epoch that were trained; None between epochs.
            is_cut: whether the epoch is over, and its batches are not.
        """
        if is_cut:
            now = self._loaded or self._now()
            return States(self._noted.get(trained or 0, now.loaders), now.datasets, is_cut=True)
        if trained is None:
            return self._over(self._loaded or self._now())
        if self.replays or not trained:
            return self._begun
        datasets = self._datasets() if self._loaded is None else self._loaded.datasets
        return States(self._noted.get(trained, ()), datasets)

    def _now(self) -> States:
        return States(self._of_loaders(), self._datasets())

    def _of_loaders(self) -> list[Any]:
        return [copy.deepcopy(loader.state_dict()) for loader in self._stateful]

    def _datasets(self) -> list[Any]:
        datasets = [dataset_of(loader) for loader in self._stateful]
        return [None if dataset is None else copy.deepcopy(dataset.state_dict()) for dataset in datasets]

    def _over(self, states: States) -> States:
        """What the next epoch begins with, where this one ends with these.

        One whose end is known by its length, or by a limit, is not over in its own state.
        """
        if states.is_cut:
            return states
        pairs = zip(self._stateful, states.loaders, strict=False)
        return States([None if begins_anew(loader) else state for loader, state in pairs], states.datasets)

    def _set(self, states: States) -> None:
        datasets = [dataset_of(loader) for loader in self._stateful]
        pairs = [*zip(datasets, states.datasets, strict=False), *zip(self._stateful, states.loaders, strict=False)]
        for part, state in pairs:
            if state is not None:
                part.load_state_dict(copy.deepcopy(state))

    @property
    def skips(self) -> bool:
        """Whether the next iteration can leave batches out without loading them."""
        return self.choice.name != FROM_START and not self._stateful and not self.replays

    def replay(self, fetcher: Any, batches: int) -> bool:
        """Load what was trained before, where there is no other way past it; return whether that was needed."""
        if self.choice.name == FROM_START or not self.replays:
            return False
        log.info("loads %d batches of this epoch again, to go on after them", batches)
        fetcher.fetched -= batches  # Lightning has counted them already
        iterator = getattr(fetcher, "iterator_wrapper", fetcher)  # of steps that take `dataloader_iter`
        for _ in range(batches):
            next(iterator, None)  # there may be fewer now
        return True


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


def dataset_of(loader: Any) -> Any:
    """The dataset with state of one of torch's loaders with state; another loader's state is all there is of it."""
    return loader.dataset if isinstance(loader, DataLoader) else None


def begins_anew(loader: Any) -> bool:
    """Whether an iteration of a loader has nothing of the one before but its dataset's state."""
    return has_length(loader) or (isinstance(loader, DataLoader) and not keeps_to_itself(loader))


def keeps_to_itself(loader: Any) -> bool:
    """Whether workers keep their dataset's state from one epoch to the next, having loaded samples ahead."""
    return isinstance(loader, DataLoader) and loader.persistent_workers


def size_of(loader: Any) -> Size:
    """How many batches a loader has, and of how many samples; None for what it does not say."""
    batch_size = getattr(loader, "batch_size", None)
    return len(loader) if has_length(loader) else None, batch_size if isinstance(batch_size, int) else None


def _told(size: Size | None) -> str:
    batches, samples = size or (None, None)
    told = "batches" if batches is None else f"{batches} batches"
    return told if samples is None else f"{told} of {samples}"
