"""Checkpoints that the earlier starts of a fit have left: names that are taken over, and a file that has had its day.

Lightning gives a file another name (`last-v1.ckpt`) where one is that a callback does not know of, and never deletes
the one that a fit goes on from. A fit that goes on in its own folder would so leave stale files under the names of the
newest: what a stop saved, what a killed start saved after the checkpoint, and that checkpoint itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.callbacks import ModelCheckpoint

from lighter.files.manifest import Manifest, read_manifest
from lighter.files.run_folder import CHECKPOINTS
from lighter.trainer.checkpointing.restored import is_below

STOPPED = "stopped"  # under `lighter` in a checkpoint: that no callback saved it, but the trainer, because it stopped
_FILES = ("best_model_path", "last_model_path", "kth_best_model_path")


class LeftOver:
    """Files left by earlier starts of this fit; none, for a fit that begins or resumes elsewhere.

    Paths are compared as they are when links are followed.
    """

    def __init__(self) -> None:
        self._to_be_redone: frozenset[str] = frozenset()
        self._links: frozenset[str] = frozenset()  # names that `save_last: link` gave to checkpoints of this fit
        self._resumed: str | None = None
        self._without_last: dict[int, str] = {}  # callbacks whose newest file is resumed, and not `last` yet
        self._step = 0

    def look(self, trainer: Any, checkpoint: Mapping[str, Any], source: Any, run: str | Path | None) -> None:
        """See what is there, in all processes: the callbacks have their states again, and nothing was saved yet.

        Args:
            trainer: whose fit goes on.
            checkpoint: what it goes on from.
            source: the path of that.
            run: the run's folder, if it has one.
        """
        callbacks = [one for one in trainer.checkpoint_callbacks if isinstance(one, ModelCheckpoint)]
        folders = [one.dirpath for one in callbacks] + ([Path(run) / CHECKPOINTS] if run is not None else [])
        manifest = read_manifest(Path(source)) if any(is_below(source, folder) for folder in folders) else None
        redone: set[str] = set()
        links: set[str] = set()
        resumed = None
        without_last: dict[int, str] = {}
        if manifest is not None:
            self._step = manifest.step or 0
            links = {*_links_to(manifest, callbacks)}
            redone = {*_written_since(manifest, callbacks)} - {path for one in callbacks for path in _noted(one)}
            resumed = os.path.realpath(source) if _may_go(checkpoint, source, callbacks) else None
            without_last = _without_last(source, self._step, callbacks)
        found = frozenset(redone), frozenset(links), resumed, without_last
        self._to_be_redone, self._links, self._resumed, self._without_last = trainer.strategy.broadcast(found)

    def is_free(self, path: Any) -> bool:
        """Return whether a file that is there may be written over: this fit has come to where it was saved before."""
        return os.path.realpath(path) in self._to_be_redone or _entry(path) in self._links

    def saved(self, path: Any, *, by_callback: bool) -> None:
        """A file was written.

        Args:
            by_callback: whether a `ModelCheckpoint` did so. Lightning does not let it delete the path that was resumed.
        """
        real = os.path.realpath(path)
        self._to_be_redone -= {real}
        if self._resumed == real and not by_callback:
            self._resumed = None

    def save_last(self, trainer: Any, callback: ModelCheckpoint) -> None:
        """Save or link `last`, if the fit was killed after a callback had saved a file and before it did so.

        The callback believes that it has: its state was saved with the file.
        """
        callbacks = [one for one in trainer.checkpoint_callbacks if isinstance(one, ModelCheckpoint)]
        file = self._without_last.pop(callbacks.index(callback), None)
        if file is not None:
            callback._last_checkpoint_saved = file  # private, and not in its state; what a link leads to
            callback._save_last_checkpoint(trainer, callback._monitor_candidates(trainer))

    def remove_resumed(self, trainer: Any, callback: ModelCheckpoint) -> None:
        """Delete the checkpoint that the fit goes on from, if a callback has saved a newer one and none keeps it."""
        has_saved = callback._last_global_step_saved > self._step  # private: its state does not say so
        if self._resumed is None or callback.save_weights_only or not has_saved:
            return
        if os.path.islink(self._resumed):  # its name was given to a newer one, by `save_last: link`
            self._resumed = None
            return
        callbacks = [one for one in trainer.checkpoint_callbacks if isinstance(one, ModelCheckpoint)]
        noted = {path for one in callbacks for path in _noted(one)}
        if self._resumed not in noted and os.path.lexists(self._resumed):  # a callback may save it again, and drop it
            trainer.strategy.remove_checkpoint(self._resumed)


def _noted(callback: ModelCheckpoint) -> Iterator[str]:
    """The files that a callback keeps."""
    named = [*callback.best_k_models, *(getattr(callback, name) for name in _FILES)]
    return (os.path.realpath(path) for path in named if path)


def _written_since(then: Manifest, callbacks: list[ModelCheckpoint]) -> Iterator[str]:
    """The checkpoints of the same config in the callbacks' folders that say that they were saved no earlier."""
    for path in _checkpoints_of(callbacks):
        found = read_manifest(path)
        if found is None or (found.step or 0) < (then.step or 0):
            continue
        if found.config == then.config or found.complete is False:  # which has no config with it
            yield os.path.realpath(path)


def _links_to(then: Manifest, callbacks: list[ModelCheckpoint]) -> Iterator[str]:
    """Links in the callbacks' folders to checkpoints of the same config in them."""
    for path in _checkpoints_of(callbacks):
        found = read_manifest(path) if path.is_symlink() and is_below(path, path.parent) else None
        if found is not None and found.config == then.config:
            yield _entry(path)


def _checkpoints_of(callbacks: list[ModelCheckpoint]) -> Iterator[Path]:
    for folder in {str(one.dirpath) for one in callbacks if one.dirpath is not None and "://" not in str(one.dirpath)}:
        yield from Path(folder).rglob("*.ckpt")


def _entry(path: Any) -> str:
    """The entry of a folder itself, not where a link of that name leads."""
    folder, name = os.path.split(path)
    return str(os.path.join(os.path.realpath(folder), name))


def _without_last(source: Any, step: int, callbacks: list[ModelCheckpoint]) -> dict[int, str]:
    """Return the callbacks, by number, of which a checkpoint is the newest file, and their `last` is older.

    With each the file, as the callback calls it.
    """
    real = os.path.realpath(source)
    found = {}
    for number, one in enumerate(callbacks):
        own = [path for path in (*one.best_k_models, one.best_model_path) if path and os.path.realpath(path) == real]
        last = Path(one.last_model_path) if one.last_model_path else None
        manifest = read_manifest(last) if last is not None and last.exists() else None
        is_older = manifest is None or (manifest.step or 0) < step
        if one.save_last and own and is_older and not one.save_weights_only:
            found[number] = own[0]
    return found


def _may_go(checkpoint: Mapping[str, Any], source: Any, callbacks: list[ModelCheckpoint]) -> bool:
    """Return whether a checkpoint is one that would not be there any more, had the fit not stopped."""
    own = checkpoint.get("lighter")
    if isinstance(own, Mapping) and own.get(STOPPED):
        return True
    real = os.path.realpath(source)
    return any(
        real in _noted(one) and (one.save_top_k != -1 or os.path.realpath(one.last_model_path or "") == real)
        for one in callbacks
    )
