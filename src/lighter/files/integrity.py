"""Verify that a checkpoint's bytes are those that were saved, and if not, tell what happened to them."""

from __future__ import annotations

import os
import pickle
import stat
import struct
import zlib
from functools import lru_cache
from pathlib import Path
from typing import IO, Any
from zipfile import ZipFile

from lighter.errors import DamagedCheckpointError
from lighter.files.manifest import (
    CRC_SIZE,
    END_SIZE,
    IN_FOLDER,
    LAST_LINE,
    Manifest,
    last_line,
    manifest_in,
    tail_of,
)

_ARCHIVE = b"PK\x03\x04"
_END = b"PK\x05\x06"
# of an entry's attributes in MS-DOS: torch then reads nothing of it, and leaves its memory as it is
_FOLDER = 0x10
_CHUNK = 1 << 20
_ALTERED = "its bytes are not those that were saved"
_ELEMENT_SIZES = {"ComplexDouble": 16, "ComplexFloat": 8, "Double": 8, "Long": 8, "Float": 4, "Int": 4}
_ELEMENT_SIZES |= {"Half": 2, "BFloat16": 2, "Short": 2}


def verify(path: str | Path) -> Manifest | None:
    """Read all bytes of a checkpoint and check them; once, as long as its files are the same.

    Returns:
        the manifest; None for a file without one.

    Raises:
        DamagedCheckpointError: it is torn or altered, or cannot be read.
    """
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            inner = sorted((entry.name, *_identity(entry.stat())) for entry in os.scandir(path))
            return _verified_folder(Path(path), (*_identity(status), *inner))
        if not stat.S_ISREG(status.st_mode):
            raise DamagedCheckpointError(f"{path} is no regular file")  # to open a pipe would wait for a writer
        return _verified(Path(path), _identity(status))
    except OSError as error:
        raise DamagedCheckpointError(f"{path} cannot be read: {error.strerror or error}") from error


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


@lru_cache(maxsize=16)
def _verified_folder(path: Path, identity: tuple[object, ...]) -> Manifest | None:
    try:
        content = (path / IN_FOLDER).read_bytes()
    except FileNotFoundError:
        # of another program's; torch writes the metadata last
        if any(path.glob("*.distcp")) and not (path / ".metadata").exists():
            raise DamagedCheckpointError(f"{path} is damaged: it has no .metadata, which is written last") from None
        return None
    manifest = manifest_in(content)
    if manifest is None or last_line(zlib.crc32(content[:-CRC_SIZE])) != content[-CRC_SIZE:]:
        raise DamagedCheckpointError(f"{path} is damaged: the bytes of {IN_FOLDER} are not those that were saved")
    damage = next(filter(None, (_damage_of_part(path, *facts) for facts in _parts(manifest))), None)
    if damage is not None:
        raise DamagedCheckpointError(f"{path} is damaged: {damage}")
    return manifest


def _parts(manifest: Manifest) -> list[tuple[str, int, int]]:
    try:  # who alters a file on purpose may write anything
        return [(str(name), int(size), int(crc)) for name, (size, crc) in (manifest.files or {}).items()]
    except (TypeError, ValueError, AttributeError):
        return []


def _damage_of_part(folder: Path, name: str, size: int, crc: int) -> str | None:
    path = folder / os.path.basename(name)
    if not path.is_file():
        return f"{path.name} is missing"
    with open(path, "rb") as file:
        found = os.fstat(file.fileno()).st_size
        if found != size:
            return f"{path.name}: {_cut(found, size)}"
        return None if crc_of_next(file, size) == crc else f"{path.name}: {_ALTERED}"


@lru_cache(maxsize=16)
def _verified(path: Path, identity: tuple[int, ...]) -> Manifest | None:
    with open(path, "rb") as file:
        # a running fit may just have replaced the file that `verify` asked for
        damage, manifest = _examine(file, os.fstat(file.fileno()).st_size)
    if damage is not None:
        raise DamagedCheckpointError(f"{path} is damaged: {damage}")
    return manifest


def _examine(file: IO[bytes], size: int) -> tuple[str | None, Manifest | None]:
    if not size:
        return "it is empty", None
    begin, tail = file.read(len(_ARCHIVE)), tail_of(file)
    end, signature = tail.rfind(_END), LAST_LINE.search(tail)
    if signature is None and not _ARCHIVE.startswith(begin):
        return None, None  # safetensors, a pickle of a torch of the last decade, or no checkpoint
    # every archive ends with a record of fixed size, so a file without one was cut off
    if signature is None and not 0 <= end <= len(tail) - END_SIZE:
        return _cut(size, _size_by_pickle(file), "about "), None
    if signature is None:
        comment_size = struct.unpack_from("<H", tail, end + END_SIZE - 2)[0]
        expected = size - len(tail) + end + END_SIZE + comment_size
        if size < expected or comment_size:  # nobody but Lighter gives an archive of torch's a comment
            return _cut(size, expected), None
    # earlier versions signed with SHA-256, and Lightning's own files have no signature: their entries are checked
    is_signed = signature is not None and signature[1].startswith(b"crc32")
    if is_signed:  # a CRC-32 of all bytes takes half the time of the SHA-256 that was here before
        file.seek(0)
        crc = crc_of_next(file, size - CRC_SIZE)
        if crc is None:
            raise OSError("it ends while it is read")
        is_intact = last_line(crc) == tail[-CRC_SIZE:]
    else:
        is_intact = _are_entries_intact(file)
    return (None, manifest_in(tail)) if is_intact else (_ALTERED, None)


def crc_of_next(file: IO[bytes], size: int) -> int | None:
    """Return the CRC-32 of the next bytes of a file; None if it has fewer."""
    crc, buffer = 0, memoryview(bytearray(max(0, min(size, _CHUNK))))
    while size > 0:
        count = file.readinto(buffer[: min(size, _CHUNK)])  # type: ignore[attr-defined]
        if not count:
            return None
        crc, size = zlib.crc32(buffer[:count], crc), size - count
    return crc


def _are_entries_intact(file: IO[bytes]) -> bool:
    # their CRCs miss flips in the padding, which nobody reads, and in the directory, which may lead torch elsewhere
    try:
        with ZipFile(file) as archive:
            entries = archive.infolist()
            if any(entry.external_attr & _FOLDER for entry in entries):
                return False
            # without any, it was saved under `torch.serialization.set_crc32_options(False)`
            has_checksums = any(entry.CRC for entry in entries)
            return not has_checksums or archive.testzip() is None
    except OSError:
        raise
    except Exception:  # noqa: BLE001  what `zipfile` raises for damaged directories has no end
        return False


def _cut(size: int, expected: int, about: str = "") -> str:
    """Describe a file that does not end where it should, or, by an estimate, `about` there."""
    short = [f"{count / 1e6:.1f}" for count in (size, expected)]
    if size < expected and expected > 1e6 and short[0] != short[1]:
        return f"it ends after {short[0]} of {about}{short[1]} MB"
    if about:
        return f"it ends at byte {size:,}, too early"
    if size < expected:
        return f"it ends after {size:,} of {expected:,} bytes"
    return f"it has {size - expected:,} bytes more than were saved" if size > expected else _ALTERED


def _size_by_pickle(file: IO[bytes]) -> int:
    """Estimate how large a torn archive was, by the storages that the pickle at its beginning names; 0 if unknown."""
    file.seek(0)
    try:
        # the lengths of the first entry's name and extra field, which stand between its header and the pickle
        name, extra = struct.unpack("<HH", file.read(30)[26:])
        file.seek(30 + name + extra)
        pickled = _Storages(file)
        pickled.load()
        return file.tell() + sum(pickled.sizes.values())
    except Exception:  # noqa: BLE001  what a torn pickle may raise has no end
        return 0


class _Storages(pickle.Unpickler):
    """Read a pickle of `torch.save` for the sizes of its storages, and call nothing that it names."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file)
        self.sizes: dict[str, int] = {}

    def find_class(self, module: str, name: str) -> Any:
        return name if name.endswith("Storage") else _Anything

    def persistent_load(self, pid: Any) -> None:
        _, kind, key, _, count = pid
        self.sizes[key] = count * _ELEMENT_SIZES.get(kind.removesuffix("Storage"), 1)


class _Anything(dict[Any, Any]):
    def __init__(self, *arguments: Any) -> None:
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        pass
