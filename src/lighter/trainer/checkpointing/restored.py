"""Drop the paths from the states of a checkpoint's callbacks that are not in the callbacks' own folders.

A checkpoint callback deletes files that its state says it has saved. That state comes from a file: of a folder that was
moved since, of another run, or from an untrusted source. Paths in a run's folder that was moved become the new ones.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning import Callback

from lighter._lightning.saves import state_keys
from lighter.files.run_folder import CHECKPOINTS

log = logging.getLogger("lighter.runs")

_FILES = ("best_model_path", "kth_best_model_path", "last_model_path")  # of Lightning's `ModelCheckpoint`, as is
_MODELS = "best_k_models"
_SHOWN = 3


def keep_own_files(
    trainer: pl.Trainer, checkpoint: dict[str, Any], source: str | Path | None, run: str | Path | None
) -> None:
    """Replace the states in a checkpoint that was loaded from `source`, in all processes."""
    states = checkpoint.get("callbacks")
    if not isinstance(states, Mapping):
        return
    kept: dict[Any, Any] = {}
    for callback in trainer.checkpoint_callbacks:
        for key in state_keys(callback):
            if isinstance(states.get(key), Mapping):
                kept[key] = _kept_state(_Owner(callback, _with_text(states[key]), source, run), trainer)
    checkpoint["callbacks"] = {**states, **kept}


class KeepsOwnFiles(Callback):
    """Drop the paths in a trainer of Lightning's own. It has to be the first of the callbacks."""

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        keep_own_files(trainer, checkpoint, trainer.ckpt_path, trainer.default_root_dir)


@dataclass(frozen=True)
class _Owner:
    """A callback, and the state of it that a checkpoint has."""

    callback: Callback
    state: Mapping[Any, Any]
    source: str | Path | None
    run: str | Path | None

    @property
    def folder(self) -> Any:
        return getattr(self.callback, "dirpath", None)

    @property
    def is_same(self) -> bool:  # the checkpoint is of this fit
        return is_of_this_fit(self.source, self.callback, self.run)

    def own_file(self, text: str) -> str | None:
        """Return the path that a path of `ModelCheckpoint`'s has now; None outside of the callback's folder."""
        if _is_remote(self.folder):
            return text if _is_below_remote(text, str(self.folder)) else None
        before = self.state.get("dirpath")
        if self.is_same and isinstance(before, str) and before != str(self.folder) and not _is_remote(text):
            moved = os.path.join(self.folder or before, os.path.relpath(text, before))
            if is_below(moved, self.folder) and os.path.exists(moved):
                return moved
        return text if is_below(text, self.folder) else None

    def users_file(self, text: str) -> str | None:
        # a user's callback without a `dirpath` has the run's folder
        if self.folder is None:
            return text if is_below(text, self.run) else None
        return self.own_file(text)


def is_of_this_fit(source: str | Path | None, callback: Callback, run: str | Path | None) -> bool:
    """Return whether a checkpoint lies in a callback's folder, or beside it in that of the run."""
    folder = Path(run) / CHECKPOINTS if run is not None else None
    return is_below(source, getattr(callback, "dirpath", None)) or is_below(source, folder)


def is_below(path: object, folder: object) -> bool:
    """Return whether a local path lies in a folder, and stays there when links and `..` are followed."""
    if not isinstance(path, (str, os.PathLike)) or not isinstance(folder, (str, os.PathLike)) or not str(folder):
        return False
    if _is_remote(path) or _is_remote(folder):
        return False
    try:
        return ".." not in Path(path).parts and Path(os.path.realpath(folder)) in Path(os.path.realpath(path)).parents
    except (ValueError, OSError):  # a name that is none
        return False


def _kept_state(owner: _Owner, trainer: pl.Trainer) -> dict[Any, Any]:
    state = owner.state
    try:
        # as the first process sees the files: the others may have another disk
        new: Mapping[str, str | None] = trainer.strategy.broadcast(dict(_new_paths(owner)))
        kept: dict[Any, Any] = {**_renamed(state, new), "monitor": state.get("monitor")}
    except RecursionError:  # data that holds itself
        log.warning("the state of %s is not restored: it holds itself", type(owner.callback).__name__)
        return {}
    gone = [text for text, path in new.items() if path is None]
    _warn(owner, [text for text in gone if not is_below(text, owner.folder)], trainer)
    if "dirpath" in state:
        kept["dirpath"] = owner.folder if owner.is_same else state["dirpath"]
    return _chosen_again(kept, getattr(owner.callback, "mode", "min")) if gone else kept


def _with_text(state: Mapping[Any, Any]) -> dict[Any, Any]:
    # a file that holds objects may have any as paths, which Lightning then deletes
    copied = dict(state)
    for name in _FILES:
        if name in copied:
            copied[name] = os.fspath(copied[name]) if isinstance(copied[name], (str, os.PathLike)) else ""
    if _MODELS in copied:
        models = copied[_MODELS].items() if isinstance(copied[_MODELS], Mapping) else ()
        copied[_MODELS] = {os.fspath(key): score for key, score in models if isinstance(key, (str, os.PathLike))}
    return copied


def _new_paths(owner: _Owner) -> Iterator[tuple[str, str | None]]:
    """List the paths in a state, and the path that each has now; None for one that is dropped or does not exist."""
    state = owner.state
    models = state.get(_MODELS)
    for text in [*(state.get(name) for name in _FILES), *(models if isinstance(models, Mapping) else ())]:
        if isinstance(text, str) and text:
            path = owner.own_file(text)
            yield text, path if path is not None and (_is_remote(path) or os.path.lexists(path)) else None
    # a user's callback may keep paths anywhere in its state
    rest = {key: value for key, value in state.items() if key not in (*_FILES, _MODELS, "dirpath", "monitor")}
    for text in filter(_leads, _texts(rest)):
        yield text, owner.users_file(text)


def _warn(owner: _Owner, dropped: list[str], trainer: pl.Trainer) -> None:
    if not owner.is_same:  # Lightning warns of another run's folder
        dropped = [text for text in dropped if not is_below(text, owner.state.get("dirpath"))]
    if dropped and trainer.is_global_zero:
        shown = ", ".join(dropped[:_SHOWN]) + (", ..." if len(dropped) > _SHOWN else "")
        name, folder = type(owner.callback).__name__, owner.folder
        log.warning("the checkpoint names files outside of %s's folder %s; it forgets them: %s", name, folder, shown)


def _is_remote(path: object) -> bool:
    # fsspec reads it as an address, or as a chain of them
    return "://" in str(path) or "::" in str(path)


def _is_below_remote(text: str, folder: str) -> bool:
    inner = text.removeprefix(folder.rstrip("/") + "/")
    return inner != text and ".." not in inner.split("/") and not _is_remote(inner)


def _leads(text: str) -> bool:
    # a text may be anything, and need not be a path
    if _is_remote(text) or os.path.isabs(text) or ".." in Path(text).parts:
        return True
    try:
        return os.path.realpath(text) != os.path.abspath(text)
    except (ValueError, OSError):  # no path
        return False


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (Mapping, list, tuple, set, frozenset)):
        for inner in [*value.keys(), *value.values()] if isinstance(value, Mapping) else value:
            yield from _texts(inner)


def _renamed(value: Any, new: Mapping[str, str | None]) -> Any:
    if isinstance(value, str):
        return new.get(value, value) or ""
    # a dropped text is an empty value; as a key or an item it would still count
    if isinstance(value, Mapping):
        kept = {key: inner for key, inner in value.items() if not _is_lost(key, new)}
        return {_renamed(key, new): _renamed(inner, new) for key, inner in kept.items()}
    if type(value) in (list, tuple, set, frozenset):
        return type(value)(_renamed(inner, new) for inner in value if not _is_lost(inner, new))
    return value


def _is_lost(value: object, new: Mapping[str, str | None]) -> bool:
    return isinstance(value, str) and new.get(value, value) is None


def _chosen_again(state: dict[Any, Any], mode: str) -> dict[Any, Any]:
    # some files are gone, and the best or the worst one may be among them
    models = state.get(_MODELS)
    if not isinstance(models, Mapping) or state.get("monitor") is None:
        return state
    rest = {name: value for name, value in state.items() if name != "kth_value"}
    if not models:
        return {**rest, "best_model_path": "", "best_model_score": None, "kth_best_model_path": ""}
    best, worst = (min, max) if mode == "min" else (max, min)
    with suppress(TypeError, RuntimeError):  # scores that are none
        first, last = best(models, key=models.__getitem__), worst(models, key=models.__getitem__)
        rest |= {"best_model_path": first, "best_model_score": models[first]}
        rest |= {"kth_best_model_path": last, "kth_value": models[last]}
    return rest
