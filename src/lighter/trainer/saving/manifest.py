"""What a checkpoint file says of itself: how large it is, the SHA-256 of its bytes, and what was saved when.

It is the comment at the end of the zip archive that `torch.save` writes, so that a file and what it says of itself
are never of two moments, and a copy has both. Every reader of zip archives, torch's among them, passes over it.

    the archive, whose last two bytes are the comment's length
    b"lighter checkpoint manifest\n"
    a JSON object
    b"\nsha256:"  64 hexadecimal digits of all bytes before this line  b"\n"
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any

BEGIN = b"lighter checkpoint manifest\n"
_DIGEST = b"\nsha256:"
_ARCHIVE = b"PK\x03\x04"
_END_OF_ARCHIVE = b"PK\x05\x06"
END_SIZE = 22  # bytes of the record that ends an archive, up to the comment
_END_OF_DIGEST = len(_DIGEST) + 64 + 1
_FARTHEST = END_SIZE + 0xFFFF  # bytes before its end that a file's last record may begin at
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Manifest:
    """What a checkpoint says of itself.

    Attributes:
        size: the archive's bytes, without this.
        step: the optimizer's steps.
        epoch: the epoch that it was saved in, from 0.
        config: the SHA-256 of the run's config; None where the run has none.
        versions: of the packages that made it.
        saved: when, in ISO 8601.
    """

    size: int
    step: int | None
    epoch: int | None
    config: str | None
    versions: Mapping[str, str | None]
    saved: str


def describe(checkpoint: Any, size: int) -> Manifest:
    """The manifest of a checkpoint whose archive has this many bytes."""
    content = checkpoint if isinstance(checkpoint, Mapping) else {}
    config = (content.get("lighter") or {}).get("config")
    return Manifest(
        size=size,
        step=_number(content.get("global_step")),
        epoch=_number(content.get("epoch")),
        config=hashlib.sha256(json.dumps(config, sort_keys=True, default=repr).encode()).hexdigest()
        if config
        else None,
        versions={name: _version(name) for name in ("lighter", "torch", "pytorch-lightning")},
        saved=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def seal(end: bytes, digest: Any, manifest: Manifest) -> bytes:
    """The last bytes of a file: the end of its archive, with the manifest as its comment.

    Args:
        end: the record that ends the archive.
        digest: the SHA-256 of all bytes before it; it goes on with what is returned.
    """
    text = BEGIN + json.dumps(asdict(manifest)).encode()
    last = end[:-2] + struct.pack("<H", len(text) + _END_OF_DIGEST) + text
    digest.update(last)
    return last + _DIGEST + digest.hexdigest().encode() + b"\n"


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) else None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
