"""The split of a run on record: its facts in `run.json`, its indices in `split.npz`. A resumed fit needs the same."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from lighter.config.problems import Problem
from lighter.errors import ConfigError
from lighter.files.atomic import write_whole
from lighter.files.run_folder import SPLIT, RunFolder, is_rank_zero
from lighter.splits.indices import Indices

if TYPE_CHECKING:
    from lighter.engine.execution import Job
    from lighter.engine.split import DataSplit


def record_split(split: DataSplit, job: Job) -> None:
    """Record the split of a run that is about to begin.

    Raises:
        ConfigError: the validation side leaks, or a fit resumes with another split.
    """
    facts = split.facts
    plan = job.resume_plan
    if plan is not None and plan.folder is not None:
        before = plan.run.facts.get("split") or {}
        if before.get("hash") not in (None, facts["hash"]):
            raise ConfigError([_changed(split, before)])
    if job.stage == "fit":
        split.refuse_leaks()
    assert split.indices is not None
    write_indices(split.indices, job.journal.folder)
    job.journal.note(split=facts)


def write_indices(indices: Indices, folder: RunFolder) -> None:
    if is_rank_zero():
        content = io.BytesIO()
        np.savez_compressed(content, train=indices.train, val=indices.val)
        write_whole(folder.path / SPLIT, content.getvalue())


def read_indices(folder: RunFolder) -> Indices:
    """Return the indices of a run; raise an OSError if it has none."""
    with np.load(folder.path / SPLIT, allow_pickle=False) as arrays:
        return Indices(arrays["train"], arrays["val"])


def _changed(split: DataSplit, before: dict[str, object]) -> Problem:
    now = split.facts
    sizes = [f"{each.get('train')} and {each.get('val')} samples" for each in (before, now)]
    message = f"the data is split otherwise than when this fit began: {sizes[0]} then, {sizes[1]} now"
    if sizes[0] == sizes[1]:
        message = f"the data is split otherwise than when this fit began: other samples, {sizes[0]} as before"
    hint = "Its labels, groups or length changed. To begin to count anew, in a new run: --take weights"
    return split.problem(message, hint)
