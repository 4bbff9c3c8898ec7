"""Which checkpoint a run starts from, and whether it can be used at all."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path

import torch

from lighter.errors import CheckpointError
from lighter.run.paths import BEST, LAST, RunFolder, runs_of


def find(wanted: str | Path, root: Path, name: str, *, besides: RunFolder) -> str:
    """The checkpoint's file. `last` and `best` mean those of the newest run with this name that has any.

    Args:
        wanted: a path, `last` or `best`.
        root: where the runs are.
        name: the name of the runs to look at.
        besides: the run that asks.

    Raises:
        CheckpointError: there is none.
    """
    if wanted in ("last", "best"):
        runs = [run for run in runs_of(root, name) if run != besides]
        return str(_newest({"last": LAST, "best": BEST}[str(wanted)], runs, f"`{name}` under {root}"))
    text = str(wanted)
    if "://" not in text and not Path(text).exists():
        near = sorted(path.name for path in Path(text).parent.glob("*.ckpt")) if Path(text).parent.is_dir() else []
        hint = f" In its folder there is: {', '.join(near)}." if near else ""
        raise CheckpointError(f"there is no checkpoint {text}.{hint}")
    return text


def _newest(file: str, runs: Sequence[RunFolder], which: str) -> Path:
    for run in runs:
        if (run.checkpoints / file).is_file():
            return run.checkpoints / file
        others = sorted(run.checkpoints.glob("*.ckpt"), key=lambda path: path.stat().st_mtime)
        if others and file == LAST:
            return others[-1]
        if others:
            names = ", ".join(path.name for path in others)
            raise CheckpointError(f"the newest run with checkpoints, {run.path}, has no {file} but {names}; name one")
    looked = f"none of the {len(runs)} runs of {which} has one" if runs else f"there is no run of {which}"
    raise CheckpointError(f"there is no {file}: {looked}. Train first (lighter fit), or name a file with --ckpt_path")


def verify(path: str, *, weights_only: bool | None) -> None:
    """Open a checkpoint to see whether it can be read.

    Raises:
        CheckpointError: it cannot.
    """
    if "://" in path or Path(path).is_dir():
        return
    try:
        torch.load(path, map_location="meta", weights_only=weights_only is not False, mmap=_can_be_mapped(path))
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} holds more than weights and plain data, and loading that can run code. If you trust its origin,"
            f" add --no-weights_only.\n{str(error).splitlines()[0]}"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{path} cannot be read as a checkpoint: {str(error).splitlines()[0]}") from error


def _can_be_mapped(path: str) -> bool:
    with open(path, "rb") as file:
        return file.read(4) == b"PK\x03\x04"
