"""The random streams of a fit in one of its processes: which numbers its steps, epochs and validations draw."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from typing import Any, TypedDict

import numpy as np
import torch

from lighter.trainer.resume import random_keys as keys
from lighter.trainer.resume.random_keys import Seeds, host_seeds, key_of, seed_torch

# public functions of NumPy that its stubs leave out
_get_bit_generator: Any = np.random.get_bit_generator  # type: ignore[attr-defined]
_set_bit_generator: Any = np.random.set_bit_generator  # type: ignore[attr-defined]
_BLOCK = 64  # steps whose seeds are derived together: a hash for each would cost as much as seeding a generator


class HostState(TypedDict):
    """The state of `HostGenerators` between two steps."""

    is_needed: bool  # whether a step of the fit has drawn from them
    since: int | None  # the step that they were seeded for last; None if they were seeded for something else since


class Streams:
    """Seeds the generators of one process at each position of a fit.

    The seed is the same in all processes of the fit; the steps of each `rank` have numbers of their own.
    """

    def __init__(self, seed: int, rank: int, device: torch.device) -> None:
        self.seed, self.rank, self.device = seed, rank, device
        self._block: tuple[int, list[Seeds]] = (-1, [])
        self._host = HostGenerators()

    def seed_for(self, purpose: int, *position: int) -> None:
        """Seed all generators for a position that is no step, such as a validation or the start of an epoch."""
        self._host.forget()
        keys.seed_all(key_of(self.seed, purpose, self.rank, *position), self.device)

    def begin_step(self, step: int) -> None:
        seeds = self._seeds_of(step)
        seed_torch(seeds, self.device)
        self._host.begin(step, seeds)

    def leave_step(self, step: int) -> None:
        """Prepare for samples that are loaded in this process, with numbers of their own, before a step."""
        self._host.leave(step)

    def shared_key(self, purpose: int, *position: int) -> bytes:
        # without the rank: the numbers are the same in all processes
        return key_of(self.seed, purpose, *position)

    def state(self) -> HostState:
        return self._host.state()

    def resume(self, state: HostState) -> None:
        # if steps have drawn from the host's generators, these are seeded from the first step on
        self._host.is_needed = state["is_needed"]

    def resume_at(self, state: HostState, step: int) -> None:
        """Resume within an epoch, before a step."""
        if state["since"] is not None:
            self._host.replay(state["since"], self._seeds_of(state["since"]), step)

    def _seeds_of(self, step: int) -> Seeds:
        number, offset = divmod(step, _BLOCK)
        if number != self._block[0]:
            self._block = number, keys.seeds_of(key_of(self.seed, keys.STEP, self.rank, number), _BLOCK)
        return self._block[1][offset]


class HostGenerators:
    """Python's and NumPy's global generators, seeded for each step once a step of the fit has drawn from them.

    To seed both takes 7 microseconds, more than all else that makes a step repeatable, and most fits have no step that
    draws from them. So each has a twin that is seeded alike. Before a step one number is drawn from all four, which
    takes 0.6 microseconds: a generator that differs from its twin was drawn from.

    Attributes:
        is_needed: whether a step of the fit has drawn.
    """

    def __init__(self) -> None:
        self.is_needed = False
        self._python, self._numpy = random.Random(), np.random.RandomState()  # the twins
        self._since: int | None = None  # as in `HostState`
        self._compared = -1  # the step before which they were compared with their twins last
        self._for_samples = np.random.MT19937()
        self._put_aside: np.random.BitGenerator | None = None  # NumPy's own, while samples are loaded

    def begin(self, step: int, seeds: Seeds) -> None:
        """Seed them for a step, if they have to be."""
        self._take_back()
        if self._since is None or self._was_drawn(step):
            self._seed(step, seeds)

    def leave(self, step: int) -> None:
        """Keep them as they are while somebody else seeds the global generators for samples of a step."""
        if self._put_aside is None and self._since is not None and not self._was_drawn(step):
            # NumPy takes 130 microseconds to read and set a state, and one to exchange the generator
            self._put_aside = _get_bit_generator()
            _set_bit_generator(self._for_samples)

    def forget(self) -> None:
        """Compare them with their twins before they are seeded for something that is no step."""
        self._take_back()
        if self._since is not None:
            self.is_needed = self.is_needed or self._differ()
        self._since = None

    def state(self) -> HostState:
        # by their states: a number that is drawn to compare would be missing from the step's
        is_followed = self._since is not None and self._put_aside is None
        is_needed = self.is_needed
        if is_followed and not is_needed:
            now, twin = np.random.get_state(legacy=False), self._numpy.get_state(legacy=False)
            is_needed = (
                now["bit_generator"] != twin["bit_generator"]
                or now["state"]["pos"] != twin["state"]["pos"]
                or not np.array_equal(now["state"]["key"], twin["state"]["key"])
                or random.getstate() != self._python.getstate()
            )
        return {"is_needed": is_needed, "since": self._since}

    def replay(self, since: int, seeds: Seeds, step: int) -> None:
        """Bring them to where they were before a step, in a fit that was resumed."""
        self._seed(since, seeds)
        for earlier in range(since + 1, step):
            self._was_drawn(earlier)

    def _seed(self, step: int, seeds: Seeds) -> None:
        self._since = self._compared = step
        of_python, of_numpy = host_seeds(seeds)
        random.seed(of_python)
        np.random.seed(of_numpy)
        if not self.is_needed:
            self._python.seed(of_python)
            self._numpy.seed(of_numpy)

    def _take_back(self) -> None:
        if self._put_aside is not None:
            random.setstate(self._python.getstate())
            _set_bit_generator(self._put_aside)
            self._put_aside = None

    def _was_drawn(self, step: int) -> bool:
        if not self.is_needed and step != self._compared:
            self._compared = step
            self.is_needed = self._differ()
        return self.is_needed

    def _differ(self) -> bool:
        return random.random() != self._python.random() or np.random.random() != self._numpy.random()


def seed_of_fit(broadcast: Callable[[int], int]) -> int:
    # the seed given to `seed_everything`, or else torch's; the first process's, as they may differ
    seed = int(os.environ.get("PL_GLOBAL_SEED") or torch.initial_seed())
    return int(broadcast(seed % 2**63))
