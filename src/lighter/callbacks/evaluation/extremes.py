"""The best and the worst samples of an evaluation, with their pictures, in memory for a few of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lighter.callbacks.evaluation.tally import Scored
from lighter.parts.metrics.arrays import to_numpy

BEST, WORST = "best", "worst"
_BATCHES = 8  # between two looks at the scores on a device


@dataclass
class KeptSample:
    """A sample of a sheet: `values` are those that `Scored` has, `shown` is what a picture is made of."""

    index: int
    score: float
    values: dict[str, Any]
    shown: dict[str, Any]


class _Candidates(NamedTuple):
    indices: np.ndarray
    positions: Tensor  # in `indices`
    values: dict[str, Tensor]
    shown: dict[str, Tensor]


class Extremes:
    """Keep the samples with the highest or the lowest scores; those without a score are the worst.

    Of each batch the candidates are chosen on its device. Every few batches, those that stay go to the host, which
    would wait for a GPU at each.
    """

    def __init__(self, count: int, *, best: bool) -> None:
        self.count, self.best = count, best
        self.kept: list[KeptSample] = []
        self._candidates: list[_Candidates] = []

    def add(self, indices: np.ndarray, scored: Scored, show: Callable[[Tensor], dict[str, Tensor]]) -> None:
        """Add a batch. `show` returns what is kept of the samples at some positions for their pictures."""
        scores = scored.values["score"]
        if not self.count or not len(scores):
            return
        # NaN is not below anything; as the worst it comes first
        ranks = torch.where(scores.isnan(), -torch.inf, scores)
        count, is_on_host = min(self.count, len(scores)), _is_on_host(scores)
        if is_on_host and len(self.kept) == self.count:
            count = min(count, self._count_better(ranks))
            if not count:  # as of most batches: nothing is to be made of them
                return
        positions = ranks.topk(count, largest=self.best).indices
        values = {name: value[positions] for name, value in scored.values.items() if value.ndim == 1}
        self._candidates.append(_Candidates(indices, positions, values, show(positions)))
        if is_on_host or len(self._candidates) >= _BATCHES:
            self.choose()

    def _count_better(self, ranks: Tensor) -> int:
        """Count the samples of a batch that are more extreme than the last that is kept."""
        last = self.kept[-1].score
        last = -np.inf if np.isnan(last) else last
        return int((ranks > last if self.best else ranks < last).sum())

    def choose(self) -> list[KeptSample]:
        """Return the samples that are kept, the most extreme first."""
        kept = [*self.kept]
        for batch in self._candidates:
            values = {name: to_numpy(value) for name, value in batch.values.items()}
            indices = batch.indices[to_numpy(batch.positions)]
            for place, index in enumerate(indices):
                of_sample = {name: array[place].item() for name, array in values.items()}
                shown: dict[str, Any] = {name: (value, place) for name, value in batch.shown.items()}
                kept.append(KeptSample(int(index), of_sample["score"], of_sample, shown))
        self.kept = [_on_host(sample) for sample in chosen(kept, self.count, best=self.best)]
        self._candidates = []
        return self.kept


def _is_on_host(scores: Tensor) -> bool:
    return scores.device.type == "cpu"


def chosen(samples: Sequence[KeptSample], count: int, *, best: bool) -> list[KeptSample]:
    """Return the best or the worst samples, the most extreme first; equal ones by their index."""

    def rank(sample: KeptSample) -> tuple[float, int]:
        score = -np.inf if np.isnan(sample.score) else sample.score
        return (-score if best else score), sample.index

    return sorted((one for one in samples if not (best and np.isnan(one.score))), key=rank)[:count]


def _on_host(sample: KeptSample) -> KeptSample:
    # only of those that stay, as pictures are large
    shown = {
        name: to_numpy(entry[0][entry[1]]) if isinstance(entry, tuple) else entry
        for name, entry in sample.shown.items()
    }
    return KeptSample(sample.index, sample.score, sample.values, shown)
