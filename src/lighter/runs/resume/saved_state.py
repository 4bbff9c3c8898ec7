"""The checkpoint that a run resumes from: the newest that is good, and its content."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lighter._lightning.steps import BATCHES_THAT_STEPPED
from lighter.errors import CheckpointError, RefusedCheckpointError
from lighter.files.folders import is_sharded
from lighter.parts.allocation import unfilled_memory
from lighter.runs import find_checkpoint
from lighter.runs.checkpoint_files import Checkpoints
from lighter.runs.read import Run
from lighter.runs.record import CHECKPOINT_KEY
from lighter.trainer.resume.position import BATCH_END, VALIDATED
from lighter.trainer.resume.state import KEY

log = logging.getLogger("lighter.runs")


@dataclass(frozen=True)
class State:
    """A checkpoint's file and the dict that Lightning saved, its tensors without their values."""

    path: Path
    content: Mapping[str, Any]

    @property
    def is_complete(self) -> bool:
        return "optimizer_states" in self.content and "loops" in self.content

    @property
    def next_step(self) -> int:
        """The step that loggers get for the first batch that is trained after it."""
        counted, is_within, gradients_wait = self._position()
        return counted + (is_within and not gradients_wait)

    @property
    def logged_step(self) -> int:
        """The step that loggers got for the validation or the epoch that it was saved after."""
        counted, is_within, _ = self._position()
        return counted if is_within else counted - 1

    def _position(self) -> tuple[int, bool, bool]:
        """Return the steps counted, whether the batch is not among them, and whether it only left gradients."""
        # Lightning counts the batch that a checkpoint is saved in when that is over, which may be after the saving
        fit = self.content["loops"]["fit_loop"]
        counted = int(fit["epoch_loop.state_dict"][BATCHES_THAT_STEPPED])
        exact = fit["state_dict"].get(KEY)
        if exact is not None:  # a checkpoint of ours says where it was
            return counted, exact["place"] in (BATCH_END, VALIDATED), bool(exact["processes"][0]["gradients"])
        # of another, an epoch whose batches are all processed has counted them
        epoch = fit["epoch_progress"]["current"]
        return counted, epoch["processed"] != epoch["ready"], False

    def counts(self, key: str) -> Mapping[str, int]:
        """Return `steps_seen`, by mode and loader, or `logged`: the rows of each CSV logger, by its path in the run."""
        counts: Mapping[str, int] = (self.content.get(CHECKPOINT_KEY) or {}).get(key) or {}
        return counts


def newest_good(run: Run, *, complete: bool, weights_only: bool, inside: bool = False) -> State:
    """Return the newest checkpoint of a run that can be used; those that are damaged are named in the log.

    Args:
        complete: whether a training is to resume from it, or its weights are enough.
        inside: whether only files in the run's folder are believed to be its.

    Raises:
        CheckpointError: there is none, or the newest is one that would have to be loaded as code.
    """
    checkpoints = Checkpoints(run.folder, run.facts, inside=inside).newest
    for path in [one.path.resolve() for one in checkpoints]:
        try:
            find_checkpoint.verify(str(path), weights_only=weights_only, safe=inside)
            state = State(path, content_of(path, weights_only=weights_only))
        except RefusedCheckpointError:  # an older one in its place would be stale
            raise
        except CheckpointError as error:
            log.warning("%s; the one before it is tried", error)
            continue
        if state.is_complete or not complete:
            return state
        log.info("%s holds only weights, from which no training resumes; the one before it is tried", path)
    what = f"{len(checkpoints)} checkpoints, and none of them can be used" if checkpoints else "no checkpoint"
    hint = "" if checkpoints else "; start again with lighter fit"
    raise CheckpointError(f"{run.id} has {what}, so there is nothing to resume from{hint}")


@unfilled_memory()
def content_of(path: Path, *, weights_only: bool) -> Mapping[str, Any]:
    """Load a checkpoint, its tensors without their values.

    Raises:
        CheckpointError: it is none, or one in a form that is not read here.
    """
    if path.is_dir():
        if not is_sharded(path):
            raise CheckpointError(f"{path} is a folder that only its strategy reads: lighter fit --ckpt_path {path}")
        from lighter.trainer.checkpointing.sharded_reading import read_outline

        return read_outline(path, weights_only=weights_only)
    # on `meta`, as nothing but names, shapes and counts is needed before the fit loads it
    content: Mapping[str, Any] = torch.load(path, map_location="meta", weights_only=weights_only)
    if not isinstance(content, Mapping) or "state_dict" not in content:
        raise CheckpointError(f"{path} is no checkpoint of Lightning's")
    return content
