"""Limits of evaluation batches: a run and its config in, the part of its data that a metric was measured on out."""

from __future__ import annotations

from collections.abc import Sequence

from lighter.config.pure import unfolded
from lighter.config.references import followed
from lighter.config.tree import Node, join

ALL = "all of it"


def evaluated(config: Node | None, mode: str, lengths: Sequence[object]) -> str:
    """Return the part of the data of a mode that was evaluated, in words that are equal where the part is.

    Args:
        config: of the run, expanded.
        mode: `train`, `val` or `test`.
        lengths: of the datasets of that mode, as far as they are known.
    """
    limit = _limit(config, mode)
    if isinstance(limit, bool) or not isinstance(limit, (int, float)):
        return str(limit)
    # Lightning takes 1.0 as all batches and 1 as one batch
    if isinstance(limit, float) and limit <= 1:
        return ALL if limit == 1 else f"{100 * limit:g}% of the batches"
    batch_size = _batch_size(config, mode)
    samples = int(limit) * (batch_size or 1)
    if lengths and all(isinstance(each, int) and samples >= each for each in lengths):
        return ALL
    if batch_size is not None:
        return f"the first {samples} sample{'s' * (samples != 1)}"
    return f"{int(limit)} batch{'es' * (limit != 1)}"


def _limit(config: Node | None, mode: str) -> object:
    """Return the limit in effect: `overfit_batches` replaces those of training and validation."""
    overfit = _value(config, "trainer", "overfit_batches") if mode != "test" else None
    limit = overfit or _value(config, "trainer", f"limit_{mode}_batches")
    return 1.0 if limit is None else limit


def _batch_size(config: Node | None, mode: str) -> int | None:
    """Return the batch size of a mode's loader where the config has it."""
    for path in (("data", f"{mode}_dataloader"), ("system", "dataloaders", mode)):
        size = _value(config, *path, "batch_size")
        if isinstance(size, int):
            return size
    return None


def _value(config: Node | None, *keys: str) -> object:
    """Return a value as it takes effect, wherever the keys above it refer to."""
    if config is None:
        return None
    path = ""
    for key in keys:
        path = followed(config, join(path, key))
    return unfolded(config, path)
