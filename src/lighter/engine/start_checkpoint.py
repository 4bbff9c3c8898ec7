"""The checkpoint that a stage starts from: which file it is, that it can be used, and what its loading failed of."""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lighter.errors import CheckpointError
from lighter.files.folders import is_sharded
from lighter.files.run_folder import is_member
from lighter.files.storage import is_remote
from lighter.runs.find_checkpoint import find, refused, verify
from lighter.runs.resume.config_changes import CKPT_PATH, refuse_changes
from lighter.runs.resume.saved_state import content_of
from lighter.trainer.checkpointing.connector import LEFT_BY_EXCEPTION
from lighter.trainer.checkpointing.defaults import left_by_exception

if TYPE_CHECKING:
    import pytorch_lightning as pl

    from lighter.engine.execution import Job

log = logging.getLogger("lighter")


def start_checkpoint(job: Job, trainer: pl.Trainer, call: Mapping[str, Any]) -> str | None:
    """Return the file of the checkpoint that a stage starts from, by the arguments of `call`; None if it needs none.

    Raise a `CheckpointError` if it cannot be used, and a `ConfigError` if its state means nothing with this config.
    """
    wanted, fits, is_safe = call.get("ckpt_path"), job.stage == "fit", job.config.safe is not None
    if wanted is None and fits and job.resume_plan is None:
        wanted = left_by_exception(trainer)  # Lightning would take it without a word
        if wanted is not None:
            log.warning(LEFT_BY_EXCEPTION, wanted)
    if wanted is None:
        return None
    weights_only = call.get("weights_only") is not False
    check = partial(verify, weights_only=weights_only, safe=is_safe, fits=fits)
    options, folder = job.options, job.journal.folder
    # A test's config.yaml is that of its fit too, but has no checkpoint: then they are those of the name, as elsewhere.
    saved_by = options.saved_by
    among = [saved_by] if saved_by and (is_member(saved_by.path) or saved_by.checkpoints.is_dir()) else None
    path = find(wanted, options.root, options.name, besides=folder, check=check, fits=fits, inside=is_safe, among=among)
    log.info("checkpoint: %s", path)
    # Of a URL, or the folder of another format, nothing is known.
    is_known = not is_remote(path) and (os.path.isfile(path) or is_sharded(Path(path)))
    if fits and job.resume_plan is None and is_known:
        refuse_changes(content_of(Path(path), weights_only=weights_only), job.config, CKPT_PATH)
    return path


def explained(error: Exception, path: str | None) -> CheckpointError | None:
    """Return what to say of an error that a checkpoint causes; None for any other."""
    if not path:
        return None
    # This is of a URL; a file was opened, and refused, before.
    if isinstance(error, pickle.UnpicklingError):
        return refused(path, error)
    if "You restored a checkpoint with current_epoch" in str(error):
        hint = f"Give it more, or begin anew with its weights: model::ckpt_path={path}"
        return CheckpointError(f"{path} is further than trainer::max_epochs. {error} {hint}")
    if str(error).startswith("Error(s) in loading state_dict"):
        return CheckpointError(f"{path} does not fit this model.\n{error}")
    return None
