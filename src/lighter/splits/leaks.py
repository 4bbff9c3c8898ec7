"""Leaks between the two sides of a split: what a model has seen in training, and is then validated on."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np

from lighter.splits.contents import UnknownContentError, hashes
from lighter.splits.indices import Columns, Indices
from lighter.splits.settings import SplitError

log = logging.getLogger("lighter")

_SHOWN = 5


def leaks(indices: Indices, columns: Columns, dataset: Any | None) -> Iterator[SplitError]:
    """Yield each leak: the same sample or group on both sides, a training sample later than a validation sample."""
    both = np.intersect1d(indices.train, indices.val)
    if len(both):
        message = f"{len(both)} samples are on both sides: {_listed(both.tolist())}"
        yield SplitError(message, "", "A model is validated on samples that it was not trained on.")
        return
    yield from _of_groups(indices, columns)
    yield from _of_times(indices, columns)
    if dataset is not None:
        yield from _of_contents(indices, dataset)


def _of_groups(indices: Indices, columns: Columns) -> Iterator[SplitError]:
    if columns.groups is None:
        return
    both = np.intersect1d(columns.groups[indices.train], columns.groups[indices.val])
    if len(both):
        message = f"{len(both)} groups are on both sides: {_listed(both.tolist())}"
        yield SplitError(message, "groups", "Keep each on one side: `kind: grouped`, or `stratified_grouped`.")


def _of_times(indices: Indices, columns: Columns) -> Iterator[SplitError]:
    if columns.times is None:
        return
    # Texts are compared by sorting: NumPy has no maximum of them.
    last, first = np.sort(columns.times[indices.train])[-1], np.sort(columns.times[indices.val])[0]
    if last > first:
        message = f"time runs backwards: the training has samples as late as {last}, and the validation begins at"
        yield SplitError(f"{message} {first}", "times", "Train on the past: `kind: time_series`.")


def _of_contents(indices: Indices, dataset: Any) -> Iterator[SplitError]:
    try:
        known = hashes(dataset)
    except UnknownContentError as reason:
        log.info("split: whether a sample is on both sides was not looked at: %s", reason)
        return
    trained = {known[index]: index for index in reversed(indices.train.tolist()) if known[index] is not None}
    same = [(trained[known[index]], index) for index in indices.val.tolist() if known[index] in trained]
    if same:
        pairs = _listed([f"{train} and {val}" for train, val in same])
        message = f"{len(same)} validation samples are in the training too, under other indices: {pairs}"
        hint = "The same inputs, byte for byte. Give copies one group (`kind: grouped`), or leave them out of the data."
        yield SplitError(message, "", hint)


def _listed(values: list[Any]) -> str:
    more = f", and {len(values) - _SHOWN} more" if len(values) > _SHOWN else ""
    return ", ".join(map(str, values[:_SHOWN])) + more
