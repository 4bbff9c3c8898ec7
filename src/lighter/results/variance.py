"""The sources of variance of a result: which of them the members of both sides sample, and which are held fixed.

After Bouthillier et al., Accounting for Variance in Machine Learning Benchmarks (MLSys 2021), section 2.1: a verdict
covers what was sampled, and says nothing about what was held fixed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lighter.results.scores import mode_of
from lighter.results.sides import Side

INITIALISATION = "initialisation of the weights"
ORDER = "order of the training samples"
AUGMENTATION = "random augmentation and dropout"
SPLIT = "split into training and validation data"
SAMPLES = "samples of the evaluation data"
SEARCH = "choice of hyperparameters"
_LOADER = "data::train_dataloader::"


def sources(sides: Sequence[Side], metric: str, *, by_samples: bool) -> tuple[list[str], list[str]]:
    """Return the sources of variance that the members of all sides sample, and those that were held fixed.

    Args:
        by_samples: True if the interval is over the samples of the evaluation data too.
    """
    has_seeds = all(len({each.seed for each in side.runs}) > 1 for side in sides)
    has_order = has_seeds and all(_is_shuffled(side) for side in sides)
    has_splits = all(_has_splits(side, metric) for side in sides)
    is_sampled = {
        INITIALISATION: has_seeds,
        ORDER: has_order,
        AUGMENTATION: has_seeds,
        SPLIT: has_splits,
        SAMPLES: by_samples or has_splits,
        SEARCH: False,
    }
    return [name for name, is_it in is_sampled.items() if is_it], [
        name for name, is_it in is_sampled.items() if not is_it
    ]


def _is_shuffled(side: Side) -> bool:
    """Return False if the config has the training samples in the same order for each seed."""
    from lighter.runs.compare import config_values

    values = config_values(side.runs[0].run)
    start = "data::train_dataloader"
    if not any(path.startswith(start) for path in values):
        return True  # the data is made by code, which nobody can read here
    keys = {
        path.removeprefix(f"{start}::").split("::")[0]: value
        for path, value in values.items()
        if path.startswith(start)
    }
    return bool(keys.get("shuffle")) or bool({"sampler", "batch_sampler"} & keys.keys())


def _has_splits(side: Side, metric: str) -> bool:
    """Return True if the members of a side were evaluated on different samples: folds, or a split by the seed."""
    prints = {_prints(each.run.facts, mode_of(metric, each.run)) for each in side.runs}
    return len({each.fold for each in side.runs}) > 1 or len(prints - {()}) > 1


def _prints(facts: Mapping[str, Any], mode: str) -> tuple[object, ...]:
    data = (facts.get("data") or {}).get(mode) or []
    return tuple(each["fingerprint"] for each in data if isinstance(each, dict) and "fingerprint" in each)
