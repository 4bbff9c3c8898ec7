"""Read files of arrays that may be anybody's, or damaged."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

# What numpy and zipfile raise for files that are cut, empty, or have flipped bits: of another method of compression or
# encryption (RuntimeError), of a size that no memory has, or of a header that is no Python.
_DAMAGES = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    EOFError,
    BadZipFile,
    zlib.error,
    struct.error,
    RuntimeError,
    MemoryError,
    OverflowError,
    SyntaxError,
)


def read_arrays(path: Path) -> dict[str, np.ndarray] | None:
    """Return the arrays of an `npz` file by their names; None if it cannot be read, or is no such file."""
    try:
        if not path.is_file():  # to open a FIFO would wait for a writer
            return None
        # numpy leaves a damaged file open
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (*_DAMAGES, AttributeError):  # an array alone has no names
        return None
