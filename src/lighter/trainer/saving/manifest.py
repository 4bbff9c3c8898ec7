"""What a checkpoint file says of itself: how large it is, the SHA-256 of its bytes, and what was saved when.

It is the comment at the end of the zip archive that `torch.save` writes, so that a file and what it says of itself
are never of two moments, and a copy has both. Every reader of zip archives, torch's among them, passes over it.

    the archive, whose last two bytes are the comment's length
    b"lighter checkpoint manifest\n"
    a JSON object
    b"\nsha256:"  64 hexadecimal digits of all bytes before this line  b"\n"

It tells damage, not malice: who alters a file on purpose can write another digest.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timezone
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

BEGIN = b"lighter checkpoint manifest\n"
DIGEST = b"\nsha256:"
DIGEST_SIZE = len(DIGEST) + 64 + 1  # the last line, with the line break before it
END_SIZE = 22  # bytes of the record that ends an archive, up to the comment
LONGEST = 0xFFFF  # comment


@dataclass(frozen=True)
class Manifest:
    """What a checkpoint says of itself.

    Attributes:
        size: the archive's bytes, up to the manifest.
        step: the optimizer's steps.
        epoch: the epoch that it was saved in, from 0.
        config: the SHA-256 of the run's config; None where the run has none.
        versions: of the packages that made it.
        saved: when, in ISO 8601.
    """

    size: int | None = None
    step: int | None = None
    epoch: int | None = None
    config: str | None = None
    versions: Mapping[str, str | None] | None = None
    saved: str | None = None

    @classmethod
    def parse(cls, text: bytes) -> Manifest:
        """The manifest in a file's JSON; what another version of Lighter added is left out."""
        try:
            found = json.loads(text)
        except ValueError:  # by somebody who can count
            found = {}
        return cls(**{field.name: found[field.name] for field in fields(cls) if field.name in found})


def describe(checkpoint: Any, size: int) -> Manifest:
    """The manifest of a checkpoint whose archive has this many bytes."""
    content = checkpoint if isinstance(checkpoint, Mapping) else {}
    own = content.get("lighter")
    config = own.get("config") if isinstance(own, Mapping) else None
    return Manifest(
        size=size,
        step=_number(content.get("global_step")),
        epoch=_number(content.get("epoch")),
        config=_digest(config) if config else None,
        versions={name: _version(name) for name in ("lighter", "torch", "pytorch-lightning")},
        saved=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def seal(end: bytes, digest: Any, manifest: Manifest) -> bytes:
    """The last bytes of a file: the record that ends its archive, with the manifest as its comment.

    Args:
        end: that record, without a comment.
        digest: the SHA-256 of all bytes before it; it goes on with what is returned.
    """
    text = BEGIN + json.dumps(asdict(manifest)).encode()
    last = end[:-2] + struct.pack("<H", len(text) + DIGEST_SIZE) + text
    digest.update(last)
    return last + last_line(digest)


def last_line(digest: Any) -> bytes:
    """The end of a file whose bytes before it have this digest."""
    return DIGEST + bytes(digest.hexdigest(), "ascii") + b"\n"


def _digest(config: Any) -> str:
    return hashlib.sha256(json.dumps(config, sort_keys=True, default=repr).encode()).hexdigest()


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) else None


@lru_cache
def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
