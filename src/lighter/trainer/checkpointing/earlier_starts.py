"""Files that earlier starts of a fit have left: names that a resumed fit may reuse, and a file that it replaces.

Lightning gives a file another name (`last-v1.ckpt`) where one exists that a callback does not know of, and never
deletes the one that a fit is resumed from. A fit that is resumed in its own folder would so leave stale files under the
names of the newest: what a stop saved, what a killed start saved after the checkpoint, and that checkpoint itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint

from lighter._lightning.saves import last_step_saved, save_last_after
from lighter.files.manifest import Manifest, read_manifest
from lighter.files.run_folder import CHECKPOINTS
from lighter.trainer.checkpointing.restored import is_below

if TYPE_CHECKING:
    from lighter.trainer import Trainer

STOPPED = "stopped"  # under `lighter` in a checkpoint: that no callback saved it, but the trainer, because it stopped
_FILES = ("best_model_path", "last_model_path", "kth_best_model_path")


class LeftOver:
    """Files left by earlier starts of this fit; none, for a fit that begins or resumes elsewhere."""

    def __init__(self) -> None:
        # paths are compared with links followed
        self._to_be_redone: set[str] = set()
        self._links: set[str] = set()  # names that `save_last: link` gave to checkpoints of this fit
        self._resumed: str | None = None
        self._without_last: dict[int, str] = {}  # callbacks whose newest file is resumed, and not `last` yet
        self._step = 0

    def look(self, trainer: Trainer, checkpoint: Mapping[str, Any], source: str | Path, run: str | Path | None) -> None:
        # now: the callbacks have their states again, and nothing was saved yet
        callbacks = _callbacks_of(trainer)
        folders = [one.dirpath for one in callbacks] + ([Path(run) / CHECKPOINTS] if run is not None else [])
        manifest = read_manifest(Path(source)) if any(is_below(source, folder) for folder in folders) else None
        seen: tuple[set[str], set[str], str | None, dict[int, str]] = set(), set(), None, {}
        if manifest is not None:
            self._step = manifest.step or 0
            written, links = _names_of_fit(manifest, callbacks)
            kept = {path for one in callbacks for path in _files_of(one)}
            resumed = os.path.realpath(source) if _is_replaced(checkpoint, source, callbacks) else None
            seen = written - kept, links, resumed, _without_last(source, self._step, callbacks)
        # as the first process sees them: it is the one that saves and deletes
        self._to_be_redone, self._links, self._resumed, self._without_last = trainer.strategy.broadcast(seen)

    def is_free(self, path: str | Path) -> bool:
        # this fit is where it was saved before, and saves the same again
        return os.path.realpath(path) in self._to_be_redone or _entry(path) in self._links

    def saved(self, path: str | Path, *, by_callback: bool) -> None:
        # a resumed file is not deleted any more if the user's code has written it
        real = os.path.realpath(path)
        self._to_be_redone -= {real}
        if self._resumed == real and not by_callback:
            self._resumed = None

    def save_last(self, trainer: pl.Trainer, callback: ModelCheckpoint) -> None:
        # the fit was killed after the callback had saved a file and before it saved or linked `last`. Its state was
        # saved with that file, so it believes that it has done both
        file = self._without_last.pop(_callbacks_of(trainer).index(callback), None)
        if file is not None:
            save_last_after(callback, file, trainer)

    def remove_resumed(self, trainer: pl.Trainer, callback: ModelCheckpoint) -> None:
        # once a callback has saved a newer one and none keeps it, as Lightning would without the stop
        if self._resumed is None or callback.save_weights_only or last_step_saved(callback) <= self._step:
            return
        if os.path.islink(self._resumed):  # its name was given to a newer one, by `save_last: link`
            self._resumed = None
            return
        kept = {path for one in _callbacks_of(trainer) for path in _files_of(one)}
        if self._resumed not in kept and os.path.lexists(self._resumed):  # a callback may save it again, and drop it
            trainer.strategy.remove_checkpoint(self._resumed)


def _callbacks_of(trainer: pl.Trainer) -> list[ModelCheckpoint]:
    return [one for one in trainer.checkpoint_callbacks if isinstance(one, ModelCheckpoint)]


def _files_of(callback: ModelCheckpoint) -> Iterator[str]:
    paths = [*callback.best_k_models, *(getattr(callback, name) for name in _FILES)]
    return (os.path.realpath(path) for path in paths if path)


def _names_of_fit(resumed: Manifest, callbacks: list[ModelCheckpoint]) -> tuple[set[str], set[str]]:
    """Return the checkpoints of this fit that were saved no earlier than the resumed one, and links to any of them."""
    written, links = set[str](), set[str]()
    for folder in {str(one.dirpath) for one in callbacks if one.dirpath is not None and "://" not in str(one.dirpath)}:
        for path in Path(folder).rglob("*.ckpt"):
            if (manifest := read_manifest(path)) is None:
                continue
            is_of_fit = manifest.config == resumed.config
            if is_of_fit and path.is_symlink() and is_below(path, path.parent):
                links.add(_entry(path))
            # weights alone have no config with them
            if (is_of_fit or manifest.complete is False) and (manifest.step or 0) >= (resumed.step or 0):
                written.add(os.path.realpath(path))
    return written, links


def _entry(path: str | Path) -> str:
    # without its last name, which may be that of a link
    folder, name = os.path.split(path)
    return os.path.join(os.path.realpath(folder), name)


def _without_last(source: str | Path, step: int, callbacks: list[ModelCheckpoint]) -> dict[int, str]:
    # by the callbacks' numbers, as all processes get it
    real = os.path.realpath(source)
    names = {}
    for number, one in enumerate(callbacks):
        same = [path for path in (*one.best_k_models, one.best_model_path) if path and os.path.realpath(path) == real]
        last = Path(one.last_model_path) if one.last_model_path else None
        manifest = read_manifest(last) if last is not None and last.exists() else None
        is_older = manifest is None or (manifest.step or 0) < step
        if one.save_last and same and is_older and not one.save_weights_only:
            names[number] = same[0]
    return names


def _is_replaced(checkpoint: Mapping[str, Any], source: str | Path, callbacks: list[ModelCheckpoint]) -> bool:
    # it would not exist any more, had the fit not stopped
    lighters = checkpoint.get("lighter")
    if isinstance(lighters, Mapping) and lighters.get(STOPPED):
        return True
    real = os.path.realpath(source)
    return any(
        real in _files_of(one) and (one.save_top_k != -1 or os.path.realpath(one.last_model_path or "") == real)
        for one in callbacks
    )
