"""The random numbers of a fit, in one of its processes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch

from lighter.trainer.resume.host_generators import OnDemand
from lighter.trainer.resume.random_keys import STEP, Seeds, key_of, seed_all, seed_torch, seeds_of

_AT_A_TIME = 64  # steps whose seeds are made together: a hash for each would cost as much as seeding a generator


class Streams:
    """The random numbers of one process of a fit.

    Args:
        seed: of the whole fit, the same in all of its processes.
        rank: of this process, whose steps have numbers of their own.
        device: whose generator is seeded too.
    """

    def __init__(self, seed: int, rank: int, device: torch.device) -> None:
        self.seed, self.rank, self.device = seed, rank, device
        self._known: dict[int, Seeds] = {}
        self._on_demand = OnDemand(self.of_step)

    def seed_for(self, purpose: int, *place: int) -> None:
        """Begin the numbers of a place in the training that is no step."""
        self._on_demand.forget()
        seed_all(key_of(self.seed, purpose, self.rank, *place), self.device)

    def begin_step(self, step: int) -> None:
        """Begin the numbers of a training step."""
        seed_torch(self.of_step(step), self.device)
        self._on_demand.begin(step)

    def leave_step(self, step: int) -> None:
        """Samples are about to be loaded in this process, with numbers of their own, before a step."""
        self._on_demand.leave(step)

    def of_step(self, step: int) -> Seeds:
        """The seeds of a training step."""
        if step not in self._known:
            block = step // _AT_A_TIME
            seeds = seeds_of(key_of(self.seed, STEP, self.rank, block), _AT_A_TIME)
            self._known = dict(enumerate(seeds, start=block * _AT_A_TIME))
        return self._known[step]

    def shared_key(self, purpose: int, *place: int) -> bytes:
        """The key of what is the same in all processes."""
        return key_of(self.seed, purpose, *place)

    def state(self) -> dict[str, Any]:
        """What has to be known to go on with the next step, besides the seed."""
        return self._on_demand.state()

    def go_on(self, state: Mapping[str, Any]) -> None:
        """Go on with a fit: know what its steps have done."""
        self._on_demand.go_on(state)

    def come_back(self, state: Mapping[str, Any], step: int) -> None:
        """Go on between two steps of an epoch, of which one comes next."""
        self._on_demand.come_back(state, step)


def seed_of_fit(broadcast: Any) -> int:
    """The seed that `seed_everything` was given, or else that of torch's generator; the first process's for all.

    Args:
        broadcast: sends the first process's value to all.
    """
    given = os.environ.get("PL_GLOBAL_SEED")
    seed = int(given) if given else torch.initial_seed()
    return int(broadcast(seed % 2**63))
