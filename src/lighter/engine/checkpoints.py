"""Which checkpoint a run starts from, and whether it can be used at all."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from lighter.errors import CheckpointError, DamagedCheckpointError
from lighter.run.paths import BEST, LAST, RunFolder, runs_of
from lighter.trainer.saving import damage
from lighter.trainer.saving.choosing import Check, beside, first_good, refuse_damaged


def find(wanted: str | Path, root: Path, name: str, *, besides: RunFolder, check: Check) -> str:
    """The checkpoint's file. `last` and `best` mean those of the newest run with this name that has any.

    Where that is damaged, they mean the newest checkpoint that is good: of that run, or else of one before it.

    Args:
        wanted: a path, `last` or `best`.
        root: where the runs are.
        name: the name of the runs to look at.
        besides: the run that asks.
        check: what a checkpoint has to pass: see `verify`.

    Raises:
        CheckpointError: there is none, or the one that is named cannot be used.
    """
    if wanted in ("last", "best"):
        runs = [run for run in runs_of(root, name) if run != besides]
        return str(_newest({"last": LAST, "best": BEST}[str(wanted)], runs, f"`{name}` under {root}", check))
    text = str(wanted)
    if "://" not in text and not Path(text).exists():
        near = sorted(path.name for path in Path(text).parent.glob("*.ckpt")) if Path(text).parent.is_dir() else []
        hint = f" In its folder there is: {', '.join(near)}." if near else ""
        raise CheckpointError(f"there is no checkpoint {text}.{hint}")
    refuse_damaged(text, check)
    return text


def _newest(file: str, runs: Sequence[RunFolder], which: str, check: Check) -> Path:
    good = first_good(_candidates(file, runs), check)
    if good is not None:
        return good
    if any(any(run.checkpoints.glob("*.ckpt")) for run in runs):
        raise CheckpointError(f"there is no {file}: all checkpoints of {which} are damaged")
    looked = f"none of the {len(runs)} runs of {which} has one" if runs else f"there is no run of {which}"
    raise CheckpointError(f"there is no {file}: {looked}. Train first (lighter fit), or name a file with --ckpt_path")


def _candidates(file: str, runs: Sequence[RunFolder]) -> Iterator[Path]:
    """Run by run the file of this name, and what may do where it is damaged."""
    for run in runs:
        wanted = run.checkpoints / file
        others = beside(wanted)
        if wanted.is_file():
            yield wanted
        elif others and file == BEST:
            names = ", ".join(path.name for path in others[::-1])
            raise CheckpointError(f"the newest run with checkpoints, {run.path}, has no {file} but {names}; name one")
        yield from others


def verify(path: str, *, weights_only: bool, safe: bool = False) -> None:
    """See whether a checkpoint's bytes are those that were saved, and open it to see whether it can be read.

    Args:
        weights_only: whether it may hold weights and plain data only.
        safe: whether it may be a stranger's: then it is a local file, and names no files to delete.

    Raises:
        DamagedCheckpointError: it is torn, altered or unreadable.
        CheckpointError: it may not be read, for what it holds.
    """
    if "://" in path:
        if safe:
            raise CheckpointError(f"safe mode fetches nothing: {path}. Download it, look at it, and name the file")
        return  # Lightning fetches it, with the same `weights_only`
    if Path(path).is_dir():
        if weights_only:
            raise CheckpointError(
                f"{path} is the folder of a distributed checkpoint; its metadata is a pickle, and loading that can run"
                " code. If you trust its origin, add --no-weights_only"
            )
        return
    damage.verify(path)
    found = _opened(path, weights_only=weights_only)
    if safe and any(_leads_elsewhere(text) for text in _texts(found.get("callbacks", {}), set())):
        raise CheckpointError(
            f"{path} holds paths that lead out of a run's folder; Lightning could delete what is there"
        )


def refused(path: str, error: pickle.UnpicklingError) -> CheckpointError:
    """What to say of a file that holds what could run code."""
    return CheckpointError(
        f"{path} holds more than weights and plain data, and loading that can run code. If you trust its origin,"
        f" add --no-weights_only.\n{str(error).partition(chr(10))[0]}"
    )


def _opened(path: str, *, weights_only: bool) -> Any:
    try:
        found = torch.load(path, map_location="meta", weights_only=weights_only, mmap=_can_be_mapped(path))
    except pickle.UnpicklingError as error:
        raise refused(path, error) from error
    except Exception as error:  # what a broken file may raise has no end
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise DamagedCheckpointError(f"{path} cannot be read as a checkpoint: {reason}") from error
    return found if isinstance(found, Mapping) else {}


def _leads_elsewhere(text: str) -> bool:
    """Whether a path is not where it says: ModelCheckpoint deletes what lies below its folder by its text."""
    return ".." in Path(text).parts or ("\0" not in text and os.path.realpath(text) != os.path.abspath(text))


def _texts(value: Any, seen: set[int]) -> Iterator[str]:
    """All text in nested data, which may hold itself."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (Mapping, list, tuple, set)) and id(value) not in seen:
        seen.add(id(value))
        for inner in [*value.keys(), *value.values()] if isinstance(value, Mapping) else value:
            yield from _texts(inner, seen)


def _can_be_mapped(path: str) -> bool:
    with open(path, "rb") as file:
        return file.read(4) == b"PK\x03\x04"
