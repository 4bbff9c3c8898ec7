"""Random numbers as functions of a position in the training: keys, and seeding the global generators by them.

A key is 16 bytes: the hash of the fit's seed, a purpose, and numbers such as process, epoch, batch and sample. No
generator's state is saved in a checkpoint: the same seed and position give the same numbers again.
"""

from __future__ import annotations

import random
import struct
from hashlib import blake2b, shake_128
from typing import Any

import numpy as np
import torch

# the purposes of keys, so that no two uses share their numbers; a checkpoint's fit depends on these values
START, ORDER, SAMPLE, BATCH, STEP, VALIDATION, EPOCH_START, EPOCH_END = range(8)
_SEEDS = struct.Struct("<QQ")

Seeds = tuple[int, int]  # 64 bits for torch and the device; 64 more, of which NumPy takes 32; Python takes both


def key_of(*position: Any) -> bytes:
    """Derive the key of a position: whole numbers, after the key of an enclosing position if there is one."""
    parent = b""
    if type(position[0]) is bytes:
        parent, position = position[0], position[1:]
    # the name of a sample may be anything, and counts as it prints; by its type alone if it prints as its address
    try:
        packed = struct.pack(f"<{len(position)}q", *position)
    except (struct.error, TypeError):
        packed = repr(_plain(position)).encode()
    return blake2b(parent + packed, digest_size=16).digest()


def _plain(name: Any) -> Any:
    # a name that prints alike in all processes, and for an element of any array or tensor
    if isinstance(name, (np.ndarray, np.generic, torch.Tensor)):
        return name.tolist()
    if isinstance(name, (tuple, list)):
        return tuple(map(_plain, name))
    kind: Any = type(name)
    return kind if kind.__repr__ is object.__repr__ else name


def seeds_of(key: bytes, count: int) -> list[Seeds]:
    return list(_SEEDS.iter_unpack(shake_128(key).digest(_SEEDS.size * count)))


def seed_all(key: bytes, device: torch.device | None = None) -> None:
    """Seed the global generators of torch, Python and NumPy, and that of a device, by a key."""
    seeds = _SEEDS.unpack(key)
    seed_torch(seeds, device)
    of_python, of_numpy = host_seeds(seeds)
    random.seed(of_python)
    np.random.seed(of_numpy)


def seed_torch(seeds: Seeds, device: torch.device | None = None) -> None:
    """Seed torch's global generator, and that of a device."""
    # torch.manual_seed looks for devices of every kind, which takes 260 microseconds; this takes 1.4
    torch.default_generator.manual_seed(seeds[0])
    if device is None or device.type == "cpu":
        return
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        torch.cuda.default_generators[index].manual_seed(seeds[0])
    elif seed := getattr(torch.get_device_module(device), "manual_seed", None):
        seed(seeds[0])


def host_seeds(seeds: Seeds) -> tuple[int, int]:
    # `numpy.random.RandomState` takes 32 bits, `random.Random` any number
    return seeds[0] ^ seeds[1], seeds[1] & 0xFFFFFFFF
