"""The manifest of a checkpoint file: facts that it states about itself, to be read without loading it.

It is the comment of the zip archive that `torch.save` writes, so that a file and its facts are never of two moments,
and a copy has both. Every reader of zip archives, torch's among them, skips it.

    b"lighter checkpoint manifest\n"
    a JSON object
    b"\ncrc32:"  8 hexadecimal digits  b"\n"

The last line is the CRC-32 of all bytes before it. The archive has one of each entry, and none of its directory, of
which one bit may hide an entry from torch. Earlier versions of Lighter wrote b"\nsha256:" there, with a digest.

A sharded checkpoint is a folder. Its manifest is a file in it, `lighter.manifest`, with the same beginning and last
line, which has the size and the CRC-32 of each file.

It tells damage, not malice: who alters a file on purpose can write another one.
"""

from __future__ import annotations

import json
import os
import re
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import IO

BEGIN = b"lighter checkpoint manifest\n"
LAST_LINE = re.compile(rb"\n(crc32:[0-9a-f]{8}|sha256:[0-9a-f]{64})\n\Z")
END_SIZE = 22  # bytes of the record that ends an archive, up to the comment
LONGEST = 0xFFFF  # comment
CRC_SIZE = len(b"\ncrc32:12345678\n")
IN_FOLDER = "lighter.manifest"


@dataclass(frozen=True)
class Manifest:
    """Facts that a checkpoint file states about itself."""

    size: int | None = None  # the archive's bytes, up to the manifest
    step: int | None = None  # the optimizer's steps
    epoch: int | None = None  # the epoch that it was saved in, from 0
    config: str | None = None  # the SHA-256 of the run's config
    versions: Mapping[str, str | None] | None = None  # of the packages that made it
    saved: str | None = None  # when, in ISO 8601
    complete: bool | None = None  # whether a training can be resumed from it, or it has the model only
    # of each callback that monitors a value, the best file so far: `monitor`, `score`, and `path` from this folder
    best: Sequence[Mapping[str, object]] = ()
    # of a folder, its files: name -> bytes and CRC-32
    files: Mapping[str, tuple[int, int]] | None = None

    @classmethod
    def parse(cls, text: bytes) -> Manifest:
        try:
            facts = json.loads(text)
        except ValueError:  # of a file that was altered on purpose
            facts = {}
        # another version of Lighter may have added fields
        return cls(**{field.name: facts[field.name] for field in fields(cls) if field.name in facts})


def sealed(end: bytes, crc: int, manifest: Manifest) -> bytes:
    """Return the end of a file: the record that ends its archive, with the manifest as its comment.

    `crc` is the CRC-32 of all bytes before that record.
    """
    text = _text_of(manifest)
    # the record ends with the length of its comment, 0 so far
    signed = end[:-2] + struct.pack("<H", len(text) + CRC_SIZE) + text
    return signed + last_line(zlib.crc32(signed, crc))


def sealed_folder(manifest: Manifest) -> bytes:
    """Return the content of a folder's manifest."""
    text = _text_of(manifest)
    return text + last_line(zlib.crc32(text))


def _text_of(manifest: Manifest) -> bytes:
    facts = asdict(manifest)
    if manifest.files is None:
        del facts["files"]
    return BEGIN + json.dumps(facts).encode()


def last_line(crc: int) -> bytes:
    """Return the end of a file whose bytes before it have this CRC-32."""
    return b"\ncrc32:%08x\n" % crc


def tail_of(file: IO[bytes]) -> bytes:
    """Read the end of a file, with all of its manifest."""
    file.seek(max(0, os.fstat(file.fileno()).st_size - END_SIZE - LONGEST))
    return file.read()


def manifest_in(tail: bytes) -> Manifest | None:
    """Return the manifest in a file's end; None without a whole one."""
    begin, last = tail.rfind(BEGIN), LAST_LINE.search(tail)
    return Manifest.parse(tail[begin + len(BEGIN) : last.start()]) if begin >= 0 and last is not None else None


def read_manifest(path: Path) -> Manifest | None:
    """Return the manifest of a checkpoint, verified or not; None for one without."""
    try:
        if path.is_dir():
            return manifest_in((path / IN_FOLDER).read_bytes())
        with open(path, "rb") as file:
            return manifest_in(tail_of(file))
    except OSError:
        return None
