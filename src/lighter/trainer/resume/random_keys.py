"""Random numbers as functions of where a training is: keys of places, and the generators that are seeded by them.

Nothing of the generators' state is saved. Whoever knows the seed and the place has the same numbers again.
"""

from __future__ import annotations

import random
import struct
from hashlib import blake2b, shake_128
from typing import Any

import numpy as np
import torch

# what a key is for, so that no two things share their numbers
START, ORDER, SAMPLE, BATCH, STEP, VALIDATION, EPOCH_START, EPOCH_END = range(8)
_PACK = [struct.Struct(f"<{parts}q").pack for parts in range(6)]
_SEEDS = struct.Struct("<QQ")

Seeds = tuple[int, int]  # 64 bits for torch and the device; 64 more, of which NumPy takes 32; Python takes both

# `random.seed` and `numpy.random.seed` take twice as long as what they lead to: the hidden instance whose methods the
# functions of `random` are, as Python documents, and the `RandomState` that scikit-learn takes for NumPy's global one
_PYTHONS: Any = random.seed.__self__  # type: ignore[attr-defined]
_seed_pythons = super(random.Random, _PYTHONS).seed
NUMPYS: Any = np.random.mtrand._rand


def key_of(*place: Any) -> bytes:
    """The 16 bytes that stand for a place: whole numbers, after the key of another place or not.

    What names a sample may be something else than a number, and then counts as it is printed; by its type alone, if it
    prints no more than where it lies in memory.
    """
    start = b""
    if type(place[0]) is bytes:
        start, place = place[0], place[1:]
    try:
        packed = _PACK[len(place)](*place)
    except (struct.error, IndexError, TypeError):
        packed = repr(_plain(place)).encode()
    return blake2b(start + packed, digest_size=16).digest()


def _plain(name: Any) -> Any:
    """The same whatever array or tensor it is part of, and in whatever process."""
    if isinstance(name, (np.ndarray, np.generic, torch.Tensor)):
        return name.tolist()
    if isinstance(name, (tuple, list)):
        return tuple(map(_plain, name))
    kind: Any = type(name)
    return kind if kind.__repr__ is object.__repr__ else name


def seeds_of(key: bytes, count: int) -> list[Seeds]:
    """So many seeds, all of one key."""
    return list(_SEEDS.iter_unpack(shake_128(key).digest(_SEEDS.size * count)))


def seed_all(key: bytes, device: torch.device | None = None) -> None:
    """Seed the global generators of torch, Python and NumPy, and that of a device, by a key."""
    seeds = _SEEDS.unpack(key)
    seed_torch(seeds, device)
    seed_python(seeds)
    seed_numpy(seeds)


def seed_torch(seeds: Seeds, device: torch.device | None = None) -> None:
    """Seed torch's global generator, and that of a device.

    `torch.manual_seed` takes some hundred microseconds to look for all devices; the generator itself takes one.
    """
    torch.default_generator.manual_seed(seeds[0])
    if device is not None and device.type != "cpu":
        _seed_device(seeds[0], device)


def for_python(seeds: Seeds) -> int:
    """What a `random.Random` is seeded with."""
    return seeds[0] ^ seeds[1]


def for_numpy(seeds: Seeds) -> int:
    """What a `numpy.random.RandomState` is seeded with."""
    return seeds[1] & 0xFFFFFFFF


def seed_python(seeds: Seeds) -> None:
    """Seed Python's `random`."""
    _seed_pythons(for_python(seeds))
    _PYTHONS.gauss_next = None


def seed_numpy(seeds: Seeds) -> None:
    """Seed NumPy's global generator."""
    try:
        NUMPYS.seed(for_numpy(seeds))
    except TypeError:  # somebody has put a bit generator of another kind in its place
        np.random.seed(for_numpy(seeds))


def _seed_device(seed: int, device: torch.device) -> None:
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        torch.cuda.default_generators[index].manual_seed(seed)
    else:
        module = getattr(torch, device.type, None)
        if module is not None and hasattr(module, "manual_seed"):
            module.manual_seed(seed)
