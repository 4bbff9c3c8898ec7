"""The checkpoint that a run starts from: which file is meant, and whether it can be used at all."""

from __future__ import annotations

import logging
import os
import pickle
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from lighter.errors import CheckpointError, DamagedCheckpointError, RefusedCheckpointError, RunError
from lighter.files import integrity
from lighter.files.folders import OF_SHARDED, is_sharded
from lighter.files.manifest import IN_FOLDER
from lighter.files.run_folder import RunFolder, all_runs, file_name, name_of, runs_of
from lighter.files.storage import exists, expanded, is_remote, normal
from lighter.parts.allocation import unfilled_memory
from lighter.runs.checkpoint_files import Checkpoints
from lighter.runs.read import read_run
from lighter.trainer.checkpointing.fallback import Check, first_good, refuse_damaged
from lighter.trainer.checkpointing.io import ARCHIVE, PICKLE

log = logging.getLogger("lighter.runs")

_MOST_NAMES = 5
_NEEDED, _NEEDED_TO_FIT = ("state_dict", "pytorch-lightning_version"), ("optimizer_states", "loops")
_AS_WEIGHTS = "model::ckpt_path="
_GLOBAL = re.compile(r"GLOBAL (\S+) was not")


def find(
    wanted: str | Path,
    root: Path,
    name: str,
    *,
    besides: RunFolder,
    check: Check,
    fits: bool = False,
    inside: bool = False,
    among: Sequence[RunFolder] | None = None,
) -> str:
    """Return the checkpoint's file. `last` and `best` mean those of the newest run with this name that has any.

    Where that is damaged, they mean the newest checkpoint that is good: of that run, or else of one before it.

    Args:
        wanted: a path, `last` or `best`.
        besides: the run that asks.
        check: raises if a checkpoint cannot be used: see `verify`.
        fits: whether a training is to resume from it.
        inside: whether only files in the runs' folders are believed to be theirs.
        among: the runs that `last` and `best` may mean; None for all with this name.

    Raises:
        CheckpointError: there is none, or the one that is named cannot be used.
    """
    if wanted in ("last", "best"):
        runs = runs_of(root, name) if among is None else among
        found = [checkpoints_of(run, inside=inside) for run in runs if run != besides]
        return str(_newest(str(wanted), root, name, besides, check, found, fits=fits))
    if not str(wanted):
        raise CheckpointError("--ckpt_path is empty; it is a path, `last` or `best`")
    path = normal(str(wanted))
    if not is_remote(path) and not Path(path).exists():
        names = sorted(file.name for file in Path(path).parent.glob("*.ckpt") if file.exists())
        hint = f" In its folder there is: {', '.join(names)}." if names else ""
        raise CheckpointError(f"there is no checkpoint {path}.{hint}")
    if path.endswith(".safetensors"):
        hint = f"A fit starts with its weights: {_AS_WEIGHTS}{path}"
        raise CheckpointError(f"{path} holds weights, and --ckpt_path takes checkpoints. {hint}")
    refuse_damaged(path, check)
    return path


def find_in_run(run: RunFolder, wanted: str | None) -> Path:
    """Return a checkpoint of one run.

    Args:
        wanted: `best`, `last`, or a path, also one within the run's folder of checkpoints; by default the best if
            there is one, otherwise the last.

    Raises:
        CheckpointError: there is none.
    """
    checkpoints = checkpoints_of(run)
    if wanted in (None, "best", "last"):
        if checkpoints.last is None:
            raise CheckpointError(f"{run.id} has no checkpoint in {run.checkpoints}")
        if wanted == "best" and checkpoints.best is None:
            raise CheckpointError(_no_best(checkpoints))
        return checkpoints.best.path if wanted != "last" and checkpoints.best is not None else checkpoints.last
    named = expanded(str(wanted))
    path = next((path for path in (named, run.checkpoints / named) if path.exists()), None)
    if path is None:
        names = ", ".join(one.path.name for one in checkpoints.newest[::-1]) or "none"
        raise CheckpointError(f"there is no checkpoint {named}. {run.id} has: {names}")
    return path


def checkpoints_of(run: RunFolder, *, inside: bool = False) -> Checkpoints:
    """Return the checkpoints of a run, whose record need not be readable."""
    try:
        facts = read_run(run.path).facts
    except RunError:  # the files tell most of it themselves
        facts = {}
    return Checkpoints(run, facts, inside=inside)


def _newest(
    wanted: str, root: Path, name: str, besides: RunFolder, check: Check, runs: Sequence[Checkpoints], *, fits: bool
) -> Path:
    runs = [run for run in runs if not run.are_of_trial]
    # lazily: a candidate is read whole to be checked, and mostly the first one is good
    good = first_good(_candidates(wanted, runs, fits=fits), check)
    if good is not None:
        return good
    which = f"`{name}` under {root}"
    if any(run.newest for run in runs):
        raise CheckpointError(f"there is no {wanted} checkpoint: all checkpoints of {which} are damaged")
    looked = f"none of the {len(runs)} runs of {which} has one" if runs else f"there is no run of {which}"
    hint = _other_names(root, name, besides) or "Train first (lighter fit), or name a file with --ckpt_path"
    raise CheckpointError(f"there is no {wanted} checkpoint: {looked}. {hint}")


def _candidates(wanted: str, runs: Sequence[Checkpoints], *, fits: bool) -> Iterator[Path]:
    # run by run, the file that is meant, and those that may do where it is damaged
    for run in runs:
        usable = [one.path for one in run.newest if not (fits and one.has_weights_only)]
        usable = usable or [one.path for one in run.newest]  # the check will say that they hold only weights
        if wanted == "best" and usable:
            best = run.best
            if best is None:
                raise CheckpointError(_no_best(run))
            if len(run.bests) > 1:
                others = ", ".join(f"by {other.monitor}: {other.path}" for other in run.bests[1:])
                log.info("best by %s; %s", best.monitor, others)
            usable = [best.path, *(path for path in usable if path != best.path)]
        yield from usable


def _other_names(root: Path, name: str, besides: RunFolder) -> str:
    newest: dict[str, RunFolder] = {}
    for run in all_runs(root):
        if run != besides and name_of(run.path) not in (*newest, file_name(name)) and checkpoints_of(run).newest:
            newest[name_of(run.path)] = run
        if len(newest) == _MOST_NAMES:
            break
    if not newest:
        return ""
    shown = "".join(f"\n  run::name={other}   ({run.id})" for other, run in newest.items())
    return (
        "A run is called after the last config file, so a variant is found with the files that it was trained with,"
        f" or by its name:{shown}"
    )


def _no_best(run: Checkpoints) -> str:
    names = ", ".join(one.path.name for one in run.newest[::-1])
    monitor = next(iter(run.monitors), "NAME")
    why = ""
    if "dataloader_" in monitor:
        why = " Each of the dataloaders has a value of its own, so one has to be chosen."
    return (
        f"the newest run with checkpoints, {run.folder.path}, has no best one: none of its callbacks chose by a value."
        f"{why} It has {names}: name one. Or train with trainer::callbacks:"
        f" [{{_target_: pytorch_lightning.callbacks.ModelCheckpoint, monitor: {monitor}, save_last: true}}]"
    )


def verify(path: str, *, weights_only: bool, safe: bool = False, fits: bool = False) -> None:
    """Compare a checkpoint's bytes with those that were saved, and open it to see whether it can be read.

    Args:
        safe: whether it may be untrusted: then it is a local file, and names no files to delete.
        fits: whether a training is to resume from it.

    Raises:
        DamagedCheckpointError: it is torn, altered or unreadable.
        CheckpointError: it may not be read, for what it holds; or it does not hold what is needed.
    """
    if is_remote(path):
        if safe:
            raise CheckpointError(f"safe mode fetches nothing: {path}. Download it, look at it, and name the file")
        try:
            is_there = exists(path)
        except Exception as error:  # a storage, or the lack of its package, may raise anything
            raise CheckpointError(f"{path} cannot be reached: {str(error) or type(error).__name__}") from error
        if not is_there:
            raise CheckpointError(f"there is no checkpoint {path}")
        return  # Lightning fetches it, with the same `weights_only`
    is_file = not Path(path).is_dir()
    if not is_file and not is_sharded(Path(path)) and not _is_torn(Path(path)):
        _verify_folder(Path(path), weights_only=weights_only)
        return
    # the bytes first: what torch says of a torn file is seldom that it is torn
    integrity.verify(path)
    if is_file:
        refuse_other_files(path)
    content = (_opened if is_file else _outline)(path, weights_only=weights_only)
    missing = [name for name in (*_NEEDED, *(_NEEDED_TO_FIT if fits else ())) if name not in content]
    if missing:
        what = "is no checkpoint" if missing[0] in _NEEDED else "holds only weights, from which no training resumes"
        raise CheckpointError(
            f"{path} {what}: it has no `{missing[0]}`. A fit starts with its weights: {_AS_WEIGHTS}{path}"
        )
    if safe and any(_leads_elsewhere(text) for text in _texts(content.get("callbacks", {}), set())):
        raise CheckpointError(
            f"{path} holds paths that lead out of a run's folder; Lightning could delete what is there"
        )


def _is_torn(path: Path) -> bool:
    # of a folder of shards, torch and Lightning write the rest at the end
    return (path / IN_FOLDER).exists() or any(path.glob("*.distcp"))


def _verify_folder(path: Path, *, weights_only: bool) -> None:
    if not any((path / name).exists() for name in OF_SHARDED):
        files = sorted([*path.glob("*.ckpt"), *path.glob("checkpoints/*.ckpt")])
        hint = f"in it there is: {', '.join(map(str, files))}" if files else "there is none in it"
        raise CheckpointError(f"{path} is a folder, and no checkpoint; {hint}")
    if weights_only:
        raise CheckpointError(
            f"{path} is the folder of a distributed checkpoint; its metadata is a pickle, and loading that can run"
            " code. If you trust its origin, add --no-weights_only"
        )


def refuse_other_files(path: str | Path) -> None:
    """Raise `DamagedCheckpointError` unless a file begins as torch's do: as an archive or, once, as a pickle."""
    if not _beginning(path).startswith((ARCHIVE, PICKLE)):
        raise DamagedCheckpointError(f"{path} is no checkpoint: torch.save writes no such file")


def refused(path: str, error: pickle.UnpicklingError) -> RefusedCheckpointError:
    named = _GLOBAL.search(str(error))
    what = f" ({named[1]})" if named is not None else ""
    return RefusedCheckpointError(
        f"{path} holds more than weights and plain data{what}, and loading that can run code. If you trust its origin,"
        " add --no-weights_only"
    )


@unfilled_memory()
def _opened(path: str, *, weights_only: bool) -> Mapping[str, Any]:
    try:
        # pickles of earlier versions cannot be mapped
        is_mapped = _beginning(path) == ARCHIVE
        content = torch.load(path, map_location="meta", weights_only=weights_only, mmap=is_mapped)
    except pickle.UnpicklingError as error:
        raise refused(path, error) from error
    except Exception as error:  # a broken file may raise anything
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise DamagedCheckpointError(f"{path} cannot be read as a checkpoint: {reason}") from error
    return content if isinstance(content, Mapping) else {}


def _outline(path: str, *, weights_only: bool) -> Mapping[str, Any]:
    from lighter.trainer.checkpointing.sharded_reading import read_outline

    try:
        return read_outline(Path(path), weights_only=weights_only)
    except pickle.UnpicklingError as error:
        raise refused(path, error) from error


def read_checkpoint(path: Path, *, weights_only: bool = True) -> Mapping[str, Any]:
    """Load a file whole, on the CPU, or a folder of shards without the states of its optimizers.

    Raises:
        CheckpointError: the shards cannot be read, or may not be.
    """
    if not path.is_dir():
        content: Mapping[str, Any] = torch.load(path, map_location="cpu", weights_only=weights_only)
        return content
    # takes 0.2 s to import, and few need it
    from lighter.trainer.checkpointing.sharded_reading import read_whole

    try:
        return read_whole(path, weights_only=weights_only, optimizers=False)
    except pickle.UnpicklingError as error:
        raise refused(str(path), error) from error


def _beginning(path: str | Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(4)


def _leads_elsewhere(text: str) -> bool:
    # `ModelCheckpoint` deletes what lies below its folder by the path's text, which may lead elsewhere by a link
    if "://" in text:  # an address to fsspec, `local:///home` too
        return True
    return ".." in Path(text).parts or ("\0" not in text and os.path.realpath(text) != os.path.abspath(text))


def _texts(value: Any, seen: set[int]) -> Iterator[str]:
    # an untrusted pickle may hold itself
    if isinstance(value, str):
        yield value
    elif isinstance(value, (Mapping, list, tuple, set)) and id(value) not in seen:
        seen.add(id(value))
        for inner in [*value.keys(), *value.values()] if isinstance(value, Mapping) else value:
            yield from _texts(inner, seen)
