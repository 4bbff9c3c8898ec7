"""Keep of the files that a checkpoint's callbacks name those that are the callbacks' own, here and now.

A checkpoint callback deletes what its state says it has saved. That state comes from a file: of a folder that was
moved since, of another run, or of a stranger. So before a callback gets it, paths that do not lie in the callback's own
folder are dropped, and those of a run's folder that was moved are found again at the new place.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback

from lighter.files.run_folder import CHECKPOINTS

log = logging.getLogger("lighter.runs")

_FILES = ("best_model_path", "kth_best_model_path", "last_model_path")  # of Lightning's `ModelCheckpoint`, as is
_MODELS = "best_k_models"
_SHOWN = 3


def keep_own_files(trainer: Any, checkpoint: dict[str, Any], source: Any, run: str | Path | None) -> None:
    """Let the states of a loaded checkpoint's callbacks name files of the callbacks' own folders only.

    In all processes alike, as the first one sees the files.

    Args:
        trainer: whose callbacks will get the states; they know their folders.
        checkpoint: what was loaded; its entry `callbacks` is exchanged.
        source: the path that it was loaded from.
        run: the run's folder, if it has one.
    """
    states = checkpoint.get("callbacks")
    if not isinstance(states, Mapping):
        return
    own: dict[Any, Any] = {}
    for callback in trainer.checkpoint_callbacks:
        for key in dict.fromkeys([callback.state_key, callback._legacy_state_key]):
            if isinstance(states.get(key), Mapping):
                state = _with_text(states[key])
                own[key] = _own_state(_Place(callback, state, source, run), state, trainer)
    checkpoint["callbacks"] = {**states, **own}


class KeepsOwnFiles(Callback):
    """The same in a trainer of Lightning's own. It has to be the first of the callbacks."""

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Lightning gives the callbacks their states afterwards."""
        keep_own_files(trainer, checkpoint, trainer.ckpt_path, trainer.default_root_dir)


@dataclass(frozen=True)
class _Place:
    """Where a callback saves, and where it did when its state was saved."""

    callback: Any
    state: Mapping[Any, Any]
    source: Any
    run: str | Path | None

    @property
    def folder(self) -> Any:
        """The callback's folder."""
        return getattr(self.callback, "dirpath", None)

    @property
    def is_same(self) -> bool:
        """Return whether the checkpoint lies in the folder, or beside it in that of the run: so it is of this fit."""
        return is_of_this_fit(self.source, self.callback, self.run)

    def own(self, text: str) -> str | None:
        """The path that a path has now; None if it is not one of the callback's own."""
        if _is_remote(self.folder):
            return text if _is_below_remote(text, str(self.folder)) else None
        before = self.state.get("dirpath")
        if self.is_same and isinstance(before, str) and before != str(self.folder) and not _is_remote(text):
            inner = os.path.relpath(text, before)
            moved = os.path.join(self.folder or before, inner)
            if is_below(moved, self.folder) and os.path.exists(moved):
                return moved
        return text if is_below(text, self.folder) else None

    def kept(self, text: str) -> str | None:
        """The same of a path that a user's callback keeps: without a `dirpath`, its folder is that of the run."""
        if self.folder is None:
            return text if is_below(text, self.run) else None
        return self.own(text)


def is_of_this_fit(source: Any, callback: Any, run: str | Path | None) -> bool:
    """Return whether a checkpoint lies in a callback's folder, or beside it in that of the run.

    Args:
        source: the checkpoint that a fit is resumed from.
        run: the run's folder, if it has one.
    """
    folder = Path(run) / CHECKPOINTS if run is not None else None
    return is_below(source, getattr(callback, "dirpath", None)) or is_below(source, folder)


def is_below(path: Any, folder: Any) -> bool:
    """Return whether a local path lies in a folder, and stays there when links and `..` are followed."""
    if not isinstance(path, (str, os.PathLike)) or not folder or _is_remote(path) or _is_remote(folder):
        return False
    try:
        return ".." not in Path(path).parts and Path(os.path.realpath(folder)) in Path(os.path.realpath(path)).parents
    except (ValueError, OSError):  # a name that is none
        return False


def _own_state(place: _Place, state: Mapping[Any, Any], trainer: Any) -> dict[Any, Any]:
    try:
        named = dict(_named(place, state))
        new: Mapping[str, str | None] = trainer.strategy.broadcast(named)
        found: dict[Any, Any] = {**_renamed(state, new), "monitor": state.get("monitor")}
    except RecursionError:  # data that holds itself
        log.warning("the state of %s is not restored: it holds itself", type(place.callback).__name__)
        return {}
    gone = [text for text, own in new.items() if own is None]
    _say(place, [text for text in gone if not is_below(text, place.folder)], trainer)
    if "dirpath" in state:
        found["dirpath"] = place.folder if place.is_same else state["dirpath"]
    return _chosen_again(found, getattr(place.callback, "mode", "min")) if gone else found


def _with_text(state: Mapping[Any, Any]) -> dict[Any, Any]:
    """A state whose paths are text, as Lightning's are: of a file that holds objects, they may be any."""
    found = dict(state)
    for name in _FILES:
        if name in found:
            found[name] = os.fspath(found[name]) if isinstance(found[name], (str, os.PathLike)) else ""
    if _MODELS in found:
        models = found[_MODELS].items() if isinstance(found[_MODELS], Mapping) else ()
        found[_MODELS] = {os.fspath(key): score for key, score in models if isinstance(key, (str, os.PathLike))}
    return found


def _named(place: _Place, state: Mapping[Any, Any]) -> Iterator[tuple[str, str | None]]:
    """The paths in a state, and the path that each has now; None for one that is not the callback's or not there."""
    models = state.get(_MODELS)
    for text in [*(state.get(name) for name in _FILES), *(models if isinstance(models, Mapping) else ())]:
        if isinstance(text, str) and text:
            own = place.own(text)
            yield text, own if own is not None and (_is_remote(own) or os.path.lexists(own)) else None
    rest = {key: value for key, value in state.items() if key not in (*_FILES, _MODELS, "dirpath", "monitor")}
    for text in filter(_leads, _texts(rest)):
        yield text, place.kept(text)


def _say(place: _Place, dropped: list[str], trainer: Any) -> None:
    """Of a folder that is another run's, Lightning says that it is."""
    if not place.is_same:
        dropped = [text for text in dropped if not is_below(text, place.state.get("dirpath"))]
    if dropped and trainer.is_global_zero:
        shown = ", ".join(dropped[:_SHOWN]) + (", ..." if len(dropped) > _SHOWN else "")
        name, folder = type(place.callback).__name__, place.folder
        log.warning("the checkpoint names files outside of %s's folder %s; it forgets them: %s", name, folder, shown)


def _is_remote(path: Any) -> bool:
    """Return whether fsspec reads a path as an address, or as a chain of them."""
    return "://" in str(path) or "::" in str(path)


def _is_below_remote(text: str, folder: str) -> bool:
    inner = text.removeprefix(folder.rstrip("/") + "/")
    return inner != text and ".." not in inner.split("/") and not _is_remote(inner)


def _leads(text: str) -> bool:
    """Return whether a text, which may be anything, is a path to somewhere else."""
    if _is_remote(text) or os.path.isabs(text) or ".." in Path(text).parts:
        return True
    try:
        return os.path.realpath(text) != os.path.abspath(text)
    except (ValueError, OSError):  # no path
        return False


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (Mapping, list, tuple, set, frozenset)):
        for inner in [*value.keys(), *value.values()] if isinstance(value, Mapping) else value:
            yield from _texts(inner)


def _renamed(value: Any, new: Mapping[str, str | None]) -> Any:
    """Nested data with other texts; an empty one for those that have none, or nothing among keys and items."""
    if isinstance(value, str):
        return new.get(value, value) or ""
    if isinstance(value, Mapping):
        kept = {key: inner for key, inner in value.items() if not _is_lost(key, new)}
        return {_renamed(key, new): _renamed(inner, new) for key, inner in kept.items()}
    if type(value) in (list, tuple, set, frozenset):
        return type(value)(_renamed(inner, new) for inner in value if not _is_lost(inner, new))
    return value


def _is_lost(value: Any, new: Mapping[str, str | None]) -> bool:
    return isinstance(value, str) and new.get(value, value) is None


def _chosen_again(state: dict[Any, Any], mode: str) -> dict[Any, Any]:
    """The state of a `ModelCheckpoint` without files that are gone: best and worst are those of the rest."""
    models = state.get(_MODELS)
    if not isinstance(models, Mapping) or state.get("monitor") is None:
        return state
    found = {name: value for name, value in state.items() if name != "kth_value"}
    if not models:
        return {**found, "best_model_path": "", "best_model_score": None, "kth_best_model_path": ""}
    best, worst = (min, max) if mode == "min" else (max, min)
    with suppress(TypeError, RuntimeError):  # scores that are none
        first, last = best(models, key=models.__getitem__), worst(models, key=models.__getitem__)
        found |= {"best_model_path": first, "best_model_score": models[first]}
        found |= {"kth_best_model_path": last, "kth_value": models[last]}
    return found
