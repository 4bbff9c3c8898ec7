"""Whether a checkpoint's bytes are those that were saved, and if not, what happened to them."""

from __future__ import annotations

import hashlib
import os
import pickle
import stat
import struct
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from lighter.errors import DamagedCheckpointError
from lighter.files.manifest import BEGIN, DIGEST, DIGEST_SIZE, END_SIZE, LONGEST, Manifest, last_line

_ARCHIVE = b"PK\x03\x04"
_END = b"PK\x05\x06"
_CHUNK = 1 << 20
_ALTERED = "its bytes are not those that were saved"
_ELEMENT_SIZES = {"ComplexDouble": 16, "ComplexFloat": 8, "Double": 8, "Long": 8, "Float": 4, "Int": 4}
_ELEMENT_SIZES |= {"Half": 2, "BFloat16": 2, "Short": 2}


def verify(path: str | Path) -> Manifest | None:
    """Read a checkpoint's bytes to see whether they are those that were saved; once, as long as the file is the same.

    Returns:
        what it says of itself; None for a file that says nothing, which is not one of Lighter's.

    Raises:
        DamagedCheckpointError: it is torn or altered, or cannot be read.
    """
    try:
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode):
            raise DamagedCheckpointError(f"{path} is no regular file")  # a pipe would be waited for
        return _verified(Path(path), (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns))
    except OSError as error:
        raise DamagedCheckpointError(f"{path} cannot be read: {error.strerror or error}") from error


@lru_cache(maxsize=16)
def _verified(path: Path, identity: tuple[int, ...]) -> Manifest | None:
    with open(path, "rb") as file:  # of which a fit may just have made another one than was asked for
        damage, manifest = _examine(file, os.fstat(file.fileno()).st_size)
    if damage is not None:
        raise DamagedCheckpointError(f"{path} is damaged: {damage}")
    return manifest


def _examine(file: IO[bytes], size: int) -> tuple[str | None, Manifest | None]:
    """What is wrong with a file, and its manifest.

    It is one of ours if it has the beginning or the end of a manifest, so that no single change hides that it is.
    """
    if not size:
        return "it is empty", None
    start = max(0, size - END_SIZE - LONGEST)
    file.seek(start)
    tail = file.read()
    begin = tail.rfind(BEGIN)
    if tail[-DIGEST_SIZE:].startswith(DIGEST):
        is_same = begin >= 0 and tail[-DIGEST_SIZE:] == last_line(_digest_of(file, size - DIGEST_SIZE))
        return (None, Manifest.parse(tail[begin + len(BEGIN) : -DIGEST_SIZE])) if is_same else (_ALTERED, None)
    if begin >= END_SIZE:
        return _cut(size, _end_of_archive(tail, begin - END_SIZE, start)), None
    file.seek(0)
    if not _ARCHIVE.startswith(file.read(len(_ARCHIVE))):
        return None, None  # no archive: not by a torch of this decade
    end = tail.rfind(_END)
    if not 0 <= end <= len(tail) - END_SIZE:
        return _torn(file, size), None
    expected = _end_of_archive(tail, end, start)
    has_comment = expected > start + end + END_SIZE  # which nobody else gives an archive of torch's
    return (_cut(size, expected) if has_comment or size < expected else None), None


def _end_of_archive(tail: bytes, end: int, start: int) -> int:
    """Where an archive's comment ends, by the record before it."""
    return int(start + end + END_SIZE + struct.unpack_from("<H", tail, end + END_SIZE - 2)[0])


def _cut(size: int, expected: int) -> str:
    """What is wrong with a file that does not end as it should, of which is known where that is."""
    if size >= expected:
        return f"it has {size - expected:,} bytes more than were saved" if size > expected else _ALTERED
    return _ends(size, expected, "") or f"it ends after {size:,} of {expected:,} bytes"


def _torn(file: IO[bytes], size: int) -> str:
    """The same of an archive without its end."""
    expected = _size_by_its_pickle(file)
    return (expected and _ends(size, expected, "about ")) or f"it ends at byte {size:,}, too early"


def _ends(size: int, expected: int, about: str) -> str | None:
    """In megabytes, where those tell the two apart."""
    short = [f"{count / 1e6:.1f}" for count in (size, expected)]
    return f"it ends after {short[0]} of {about}{short[1]} MB" if expected > 1e6 and short[0] != short[1] else None


def _digest_of(file: IO[bytes], size: int) -> Any:
    digest, buffer = hashlib.sha256(), memoryview(bytearray(_CHUNK))
    file.seek(0)
    while size > 0:
        count = file.readinto(buffer[: min(size, _CHUNK)])  # type: ignore[attr-defined]
        if not count:
            raise OSError("it ends while it is read")
        digest.update(buffer[:count])
        size -= count
    return digest


def _size_by_its_pickle(file: IO[bytes]) -> int | None:
    """About how large an archive was of which only the beginning is left, by the storages that its pickle names."""
    file.seek(0)
    try:
        name, extra = struct.unpack("<HH", file.read(30)[26:])
        file.seek(30 + name + extra)
        pickled = _Storages(file)
        pickled.load()
        expected = file.tell() + sum(pickled.sizes.values())
    except Exception:  # noqa: BLE001  what a torn file may raise has no end
        return None
    return expected if expected > file.seek(0, os.SEEK_END) else None


class _Storages(pickle.Unpickler):
    """Reads a pickle of `torch.save` for the sizes of its storages, and calls nothing that it names."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file)
        self.sizes: dict[str, int] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Storages by their types' names, and something that takes all for the rest."""
        return name if name.endswith("Storage") else _Anything

    def persistent_load(self, named: Any) -> None:
        """A storage: its type, key, location and number of elements."""
        _, kind, key, _, count = named
        self.sizes[key] = count * _ELEMENT_SIZES.get(kind.removesuffix("Storage"), 1)


class _Anything(dict[Any, Any]):
    def __init__(self, *given: Any) -> None:
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        pass
