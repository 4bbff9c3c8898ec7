"""Read the manifest at the end of a checkpoint file without loading it; `trainer/checkpointing/manifest.py` writes it.

Nothing here imports torch, and nothing but the last 64 kB of a file is read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

BEGIN = b"lighter checkpoint manifest\n"
DIGEST = b"\nsha256:"
DIGEST_SIZE = len(DIGEST) + 64 + 1  # the last line, with the line break before it
END_SIZE = 22  # bytes of the record that ends an archive, up to the comment
LONGEST = 0xFFFF  # comment


@dataclass(frozen=True)
class Manifest:
    """Facts that a checkpoint file states about itself.

    Attributes:
        size: the archive's bytes, up to the manifest.
        step: the optimizer's steps.
        epoch: the epoch that it was saved in, from 0.
        config: the SHA-256 of the run's config; None where the run has none.
        versions: of the packages that made it.
        saved: when, in ISO 8601.
        complete: whether a training can go on from it, or it has the model only.
        best: of each callback that monitors a value, the best file so far: `monitor`, `score`, and `path` as seen from
            the folder of this one.
    """

    size: int | None = None
    step: int | None = None
    epoch: int | None = None
    config: str | None = None
    versions: Mapping[str, str | None] | None = None
    saved: str | None = None
    complete: bool | None = None
    best: Sequence[Mapping[str, object]] = ()

    @classmethod
    def parse(cls, text: bytes) -> Manifest:
        """The manifest in a file's JSON; what another version of Lighter added is left out."""
        try:
            found = json.loads(text)
        except ValueError:  # by somebody who can count
            found = {}
        return cls(**{field.name: found[field.name] for field in fields(cls) if field.name in found})


def last_line(digest: Any) -> bytes:
    """Return the end of a file whose bytes before it have this digest."""
    return DIGEST + bytes(digest.hexdigest(), "ascii") + b"\n"


def read_manifest(path: Path) -> Manifest | None:
    """Return the manifest of a file, verified or not; None for a file without one."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - END_SIZE - LONGEST))
            tail = file.read()
    except OSError:
        return None
    begin = tail.rfind(BEGIN)
    if begin < 0 or not tail[-DIGEST_SIZE:].startswith(DIGEST):
        return None
    return Manifest.parse(tail[begin + len(BEGIN) : -DIGEST_SIZE])
