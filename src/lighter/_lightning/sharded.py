"""torch's distributed checkpoint (DCP), with checksums and without running what a file asks for.

DCP loads its `.metadata` and its objects by `pickle`, which runs whatever an untrusted file asks for. The reader and
the planner here read the former by a list of allowed names, and the latter as `torch.load(weights_only=True)` does.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zlib import crc32

import torch
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner, _EmptyStateDictLoadPlanner
from torch.distributed.checkpoint.filesystem import FileSystem, FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.metadata import Metadata, StorageMeta
from torch.distributed.checkpoint.planner import ReadItem
from torch.distributed.checkpoint.state_dict_loader import _load_state_dict, load
from torch.futures import Future

METADATA, REST = ".metadata", "meta.pt"  # torch's, and Lightning's for what is no weight and no optimizer's state
_DCP = "torch.distributed.checkpoint"
_OF_METADATA = {
    *((f"{_DCP}.metadata", name) for name in ("Metadata", "MetadataIndex", "StorageMeta", "TensorProperties")),
    *((f"{_DCP}.metadata", f"{name}StorageMetadata") for name in ("Bytes", "Chunk", "Tensor")),
    (f"{_DCP}.metadata", "_MEM_FORMAT_ENCODING"),
    (f"{_DCP}.filesystem", "_StorageInfo"),
    ("torch", "Size"),
    ("torch.serialization", "_get_layout"),
    ("collections", "OrderedDict"),
    ("builtins", "set"),
}
_PATHS = {("pathlib", name) for name in ("PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath")}
_PATHS |= {("pathlib._local", name) for _, name in _PATHS}  # as Python 3.13 spells it


class WholeFolderWriter(FileSystemWriter):
    """Writes a folder with a checksum of each file, and has it published when all processes have written.

    `publish` is called in the first process, with the bytes and the CRC-32 of each file. If it raises, all processes
    raise, as if a file could not be written.
    """

    def __init__(self, partial: Path, publish: Callable[[Mapping[str, tuple[int, int]]], None]) -> None:
        super().__init__(partial)
        self.fs = self.files = ChecksummedFiles()
        self.publish = publish

    def write_data(self, plan: Any, planner: Any) -> Future[Any]:
        """Write this process's shards; the checksums are sent to the first process with the results."""
        written = super().write_data(plan, planner).value()
        future: Future[Any] = Future()
        future.set_result((written, self.files.written))
        return future

    def finish(self, metadata: Metadata, results: Any) -> None:
        super().finish(metadata, [written for written, _ in results])
        sums = {name: facts for _, files in results for name, facts in files.items()}
        self.publish({**sums, **self.files.written})


class ChecksummedFiles(FileSystem):
    """Files on a disk, with the bytes and the CRC-32 of each that was written."""

    def __init__(self) -> None:
        self.written: dict[str, tuple[int, int]] = {}

    @contextmanager
    def create_stream(self, path: Any, mode: str) -> Iterator[Any]:
        with super().create_stream(path, mode) as file:
            if "w" not in mode:
                yield file
                return
            stream = _Stream(file)
            try:
                yield stream
            except RuntimeError:
                if stream.error is not None:  # torch makes an error about positions in the file of it
                    raise stream.error from None
                raise
            self.written[Path(path).name] = stream.size, stream.crc

    def rename(self, path: Any, new_path: Any) -> None:
        super().rename(path, new_path)
        self.written[Path(new_path).name] = self.written.pop(Path(path).name)


class _Stream(io.RawIOBase):
    """A file that is written from its beginning to its end."""

    def __init__(self, file: Any) -> None:
        self.file, self.size, self.crc = file, 0, 0
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            self.file.write(data)
        except OSError as error:
            self.error = error
            raise
        view = memoryview(data)
        self.size, self.crc = self.size + view.nbytes, crc32(view, self.crc)
        return view.nbytes

    def tell(self) -> int:
        return self.size

    def flush(self) -> None:
        self.file.flush()

    def fileno(self) -> int:
        return int(self.file.fileno())


class SafeReader(FileSystemReader):
    """Reads the metadata of a folder without running anything that it names."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        """Read the metadata.

        Raises:
            pickle.UnpicklingError: it names what has no place in metadata.
        """
        metadata = read_metadata(Path(self.path))
        metadata.storage_meta = StorageMeta(load_id=self.load_id)
        return metadata


def read_metadata(folder: Path, *, weights_only: bool = True) -> Metadata:
    """Read the metadata of a sharded checkpoint, and with `weights_only` call nothing that is not on the list."""
    if not weights_only:
        return FileSystemReader(folder).read_metadata()
    with open(folder / METADATA, "rb") as file:
        metadata = _MetadataUnpickler(file).load()
    if not isinstance(metadata, Metadata):
        raise pickle.UnpicklingError(f"it is a {type(metadata).__name__}, and no metadata")
    for info in (metadata.storage_data or {}).values():
        if Path(info.relative_path).name != info.relative_path or getattr(info, "transform_descriptors", None):
            raise pickle.UnpicklingError("it leads to a file outside of its folder, or by way of a program")
    return metadata


class _MetadataUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _PATHS:  # where it was saved, which nobody reads
            return lambda *parts: "/".join(map(str, parts))
        is_dtype = module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)
        if (module, name) in _OF_METADATA or is_dtype:
            return super().find_class(module, name)
        # torch's words, by which the one who is told finds the name
        raise pickle.UnpicklingError(f"Unsupported global: GLOBAL {module}.{name} was not an allowed global by default")


class _SafeObjects(DefaultLoadPlanner):
    """Loads tensors as DCP does, and objects as `torch.load(weights_only=True)` does."""

    def load_bytes(self, read_item: ReadItem, value: io.BytesIO) -> None:
        # DCP's own loads it by `pickle`; what passes here is data to that too
        torch.load(value, weights_only=True)
        value.seek(0)
        super().load_bytes(read_item, value)


def load_whole(folder: Path, sections: Collection[str] | None = None, *, weights_only: bool) -> dict[str, Any]:
    """Load all shards in this process, or those of some sections, as whole tensors on the CPU.

    Raises:
        CheckpointException: it cannot be read; not an `Exception`.
    """
    state: dict[str, Any] = {}
    reader: FileSystemReader = SafeReader(folder) if weights_only else FileSystemReader(folder)
    kind: Any = _SafeWholePlanner if weights_only else _EmptyStateDictLoadPlanner
    # the public `load` takes the keys of what it is given, and nothing else
    _load_state_dict(state, storage_reader=reader, planner=kind(keys=sections), no_dist=True)
    return state


def load_shards(state: dict[str, Any], folder: Path, *, weights_only: bool) -> None:
    """Load shards into the tensors of a dict, which have shards of another form, in all processes.

    Raises:
        CheckpointException: it cannot be read, or lacks some of them; not an `Exception`.
    """
    reader, planner = (SafeReader, _SafeObjects) if weights_only else (FileSystemReader, DefaultLoadPlanner)
    load(state, storage_reader=reader(folder), planner=planner())


class _SafeWholePlanner(_SafeObjects, _EmptyStateDictLoadPlanner):
    pass
