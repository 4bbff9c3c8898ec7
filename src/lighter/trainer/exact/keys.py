"""Random numbers as functions of where a training is: keys of places, and the generators that are seeded by them.

Nothing of the generators' state is saved. Whoever knows the seed and the place has the same numbers again.
"""

from __future__ import annotations

import os
import random
import struct
import sys
from hashlib import blake2b
from typing import Any

import torch

# what a key is for, so that no two things share their numbers
START, ORDER, SAMPLE, BATCH, STEP, VALIDATION, EPOCH_START, EPOCH_END = range(8)
_PACK = [struct.Struct(f"<{parts}q").pack for parts in range(6)]
_UNPACK = struct.Struct("<QQ").unpack


def key_of(*place: Any) -> bytes:
    """The 16 bytes that stand for a place: whole numbers, after the key of another place or not.

    What names a sample may be something else than a number, and then counts as it is printed.
    """
    start = b""
    if type(place[0]) is bytes:
        start, place = place[0], place[1:]
    try:
        packed = _PACK[len(place)](*place)
    except (struct.error, IndexError):
        packed = repr(place).encode()
    return blake2b(start + packed, digest_size=16).digest()


def seed_all(key: bytes, device: torch.device | None = None) -> None:
    """Seed Python's `random`, NumPy's global generator, torch's, and that of a device.

    `torch.manual_seed` takes some hundred microseconds to look for all devices; the generator itself takes one.
    """
    of_torch, of_numpy = _UNPACK(key)
    torch.default_generator.manual_seed(of_torch)
    random.seed(of_torch ^ of_numpy)
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(of_numpy & 0xFFFFFFFF)
    if device is not None and device.type != "cpu":
        _seed_device(of_torch, device)


def _seed_device(seed: int, device: torch.device) -> None:
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        torch.cuda.default_generators[index].manual_seed(seed)
    else:
        module = getattr(torch, device.type, None)
        if module is not None and hasattr(module, "manual_seed"):
            module.manual_seed(seed)


class Streams:
    """The random numbers of one process of a fit.

    Args:
        seed: of the whole fit, the same in all of its processes.
        rank: of this process, whose steps have numbers of their own.
        device: whose generator is seeded too.
    """

    def __init__(self, seed: int, rank: int, device: torch.device) -> None:
        self.seed, self.rank, self.device = seed, rank, device

    def seed_for(self, purpose: int, *place: int) -> None:
        """Begin the numbers of a place in the training."""
        seed_all(key_of(self.seed, purpose, self.rank, *place), self.device)

    def shared_key(self, purpose: int, *place: int) -> bytes:
        """The key of what is the same in all processes."""
        return key_of(self.seed, purpose, *place)


def seed_of_fit(broadcast: Any) -> int:
    """The seed that `seed_everything` was given, or else that of torch's generator; the first process's for all.

    Args:
        broadcast: sends the first process's value to all.
    """
    given = os.environ.get("PL_GLOBAL_SEED")
    seed = int(given) if given else torch.initial_seed()
    return int(broadcast(seed % 2**63))
