"""Python's and NumPy's random numbers, of which most training steps draw none."""

from __future__ import annotations

import ctypes
import random
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lighter.trainer.resume.random_keys import NUMPYS, Seeds, for_python, seed_numpy, seed_python


class OnDemand:
    """Python's and NumPy's global generators at the steps of a fit: seeded for each, once a step has drawn from them.

    To seed both takes longer than all else that a step needs to be repeatable. To see whether anybody has drawn from
    them does not.

    Args:
        seeds_of: the seeds of a step.
    """

    def __init__(self, seeds_of: Callable[[int], Seeds]) -> None:
        self._seeds_of = seeds_of
        self._python, self._numpy = _Python(), _NumPy()
        self._is_needed = False
        self._since: int | None = None  # the step they were seeded for; None: for something else, since then
        self._seen: int | None = None  # the step before which they were last looked at
        self._is_away = False  # whether they have been seeded for samples, and are to come back

    def begin(self, step: int) -> None:
        """A step is next."""
        if self._since is None or self._are_drawn(step):
            self._seed(step)
        elif self._is_away:
            self._python.come_back()
            self._numpy.come_back()
        self._is_away = False

    def leave(self, step: int) -> None:
        """Samples are loaded in this process, with random numbers of their own, before a step."""
        if self._since is not None and not self._are_drawn(step):
            self._is_away = True

    def forget(self) -> None:
        """They are about to be seeded for something that is no step."""
        if self._since is not None and not self._is_away:
            self._is_needed = self._is_needed or self._differ()
        self._since, self._is_away = None, False

    def state(self) -> dict[str, Any]:
        """What has to be known to go on, between two steps."""
        have_drawn = self._since is not None and (self._python.differs() or self._numpy.differs())
        is_needed = self._is_needed or have_drawn
        return {"is_needed": is_needed, "since": self._since}

    def go_on(self, state: Mapping[str, Any]) -> None:
        """Know from a state whether a step has drawn; the fit goes on, and is not where it was yet."""
        self._is_needed = state["is_needed"]

    def come_back(self, state: Mapping[str, Any], step: int) -> None:
        """Be where that was, between two steps, of which one comes next."""
        if state["since"] is not None:
            self._seed(state["since"])
            for past in range(state["since"] + 1, step):
                self._are_drawn(past)

    def _seed(self, step: int) -> None:
        self._since = self._seen = step
        seeds = self._seeds_of(step)
        if self._is_needed:
            seed_python(seeds)
            seed_numpy(seeds)
        else:
            self._python.seed(seeds)
            self._numpy.seed(seeds)

    def _are_drawn(self, step: int) -> bool:
        """Whether a step has drawn, of those before this one."""
        if not self._is_needed and step != self._seen:
            self._seen = step
            self._is_needed = self._differ()
        return self._is_needed

    def _differ(self) -> bool:
        return self._python.differs_in_next() or self._numpy.differs()


class _Python:
    """Python's global generator, and a twin that is seeded alike: they differ once somebody has drawn from the one."""

    def __init__(self) -> None:
        self._twin = random.Random()
        self._next_of_twin = self._twin.random

    def seed(self, seeds: Seeds) -> None:
        seed_python(seeds)
        self._twin.seed(for_python(seeds))

    def differs_in_next(self) -> bool:
        """Whether they do, by drawing a number from both: it takes half a microsecond."""
        return random.random() != self._next_of_twin()

    def differs(self) -> bool:
        """The same, by their whole states: nothing is drawn."""
        return random.getstate() != self._twin.getstate()

    def come_back(self) -> None:
        random.setstate(self._twin.getstate())


class _Place:
    """Where an MT19937 is among its numbers: the first of its 624 words and, behind the last, which of them is next."""

    def __init__(self, generator: Any) -> None:
        address = generator.ctypes.state_address
        self._first = ctypes.c_uint32.from_address(address)
        self._next = ctypes.c_int.from_address(address + 624 * ctypes.sizeof(ctypes.c_uint32))

    def read(self) -> tuple[int, int]:
        return self._first.value, self._next.value


def _is_known() -> bool:
    """Whether this NumPy keeps the place of a generator where `_Place` looks: it promises the address alone."""
    generator = np.random.MT19937(1)
    place, found = _Place(generator), []
    for _ in range(3):
        state = generator.state["state"]
        found.append(place.read() == (int(state["key"][0]), int(state["pos"])))
        np.random.RandomState(generator).random_sample(200)
    return all(found)


_USUAL = NUMPYS._bit_generator  # unless somebody puts another one there
_PLACE = _Place(_USUAL) if type(_USUAL) is np.random.MT19937 and _is_known() else None


class _NumPy:
    """NumPy's global generator, whose place among its numbers is read where it is, at the address that NumPy gives.

    A twin would do here too, and take three microseconds.
    """

    def __init__(self) -> None:
        self._seeds, self._fresh = (0, 0), (0, 0)

    def seed(self, seeds: Seeds) -> None:
        seed_numpy(seeds)
        self._seeds = seeds
        self._fresh = _PLACE.read() if _PLACE is not None else (0, 0)

    def differs(self) -> bool:
        """Whether somebody has drawn since; where nobody can tell, somebody has."""
        return _PLACE is None or _PLACE.read() != self._fresh or NUMPYS._bit_generator is not _USUAL

    def come_back(self) -> None:
        seed_numpy(self._seeds)
