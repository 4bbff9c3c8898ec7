"""Python's and NumPy's random numbers, of which most training steps draw none."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lighter.trainer.exact.keys import Seeds, for_numpy, for_python, seed_numpy, seed_python


class OnDemand:
    """Python's and NumPy's global generators at the steps of a fit: seeded for each, once a step has drawn from them.

    To seed both takes longer than all else that a step needs to be repeatable. Until a step has drawn, one number is
    taken from each before a step, and one from a twin that was seeded alike: they differ if anybody else took one.

    Args:
        seeds_of: the seeds of a step.
    """

    def __init__(self, seeds_of: Callable[[int], Seeds]) -> None:
        self._seeds_of = seeds_of
        self._python, self._numpy = random.Random(), np.random.RandomState()
        self._is_needed = False
        self._since: int | None = None  # the step they were seeded for; None: for something else, since then
        self._seen: int | None = None  # the step before which they were last looked at
        self._is_away = False  # whether they have been seeded for samples, and are to come back

    def begin(self, step: int) -> None:
        """A step is next."""
        if self._since is None or self._are_drawn(step):
            self._seed(step)
        elif self._is_away:
            random.setstate(self._python.getstate())
            np.random.set_state(self._numpy.get_state())
        self._is_away = False

    def leave(self, step: int) -> None:
        """Samples are loaded in this process, with random numbers of their own, before a step."""
        if self._since is not None and not self._are_drawn(step):
            self._is_away = True

    def forget(self) -> None:
        """They are about to be seeded for something that is no step."""
        if self._since is not None and not self._is_away:
            self._look()
        self._since, self._is_away = None, False

    def state(self) -> dict[str, Any]:
        """What has to be known to go on, between two steps."""
        is_needed = self._is_needed or (self._since is not None and self._differ())
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
        seeds = self._seeds_of(step)
        seed_python(seeds)
        seed_numpy(seeds)
        self._since = self._seen = step
        if not self._is_needed:
            self._python.seed(for_python(seeds))
            self._numpy.seed(for_numpy(seeds))

    def _are_drawn(self, step: int) -> bool:
        """Whether a step has drawn, of those before this one."""
        if step != self._seen and not self._is_needed:
            self._seen = step
            self._look()
        return self._is_needed

    def _look(self) -> None:
        own, twins = random.random(), self._python.random()
        if own != twins or np.random.random_sample() != self._numpy.random_sample():
            self._is_needed = True

    def _differ(self) -> bool:
        """Whether somebody has drawn; to know it, nothing is drawn here."""
        ours = random.getstate(), np.random.get_state(legacy=False)
        return pickle.dumps(ours) != pickle.dumps((self._python.getstate(), self._numpy.get_state(legacy=False)))
