"""The best and worst samples: the same in one look at all scores, batch by batch, and without a look at each batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lighter.callbacks.evaluation import extremes
from lighter.callbacks.evaluation.extremes import Extremes, KeptSample, chosen
from lighter.callbacks.evaluation.samples import SampleIndices
from lighter.callbacks.evaluation.tally import Scored, either


@pytest.mark.parametrize("best", [True, False])
@pytest.mark.parametrize("on_host", [True, False])
@pytest.mark.parametrize("batch", [1, 7, 50])
def test_the_most_extreme_samples(batch: int, on_host: bool, best: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extremes, "_is_on_host", lambda scores: on_host)
    generator = torch.Generator().manual_seed(batch)
    scores = torch.randn(300, generator=generator)
    scores[torch.randint(300, (6,), generator=generator)] = torch.nan
    kept = Extremes(10, best=best)
    for start in range(0, 300, batch):
        part = scores[start : start + batch]
        scored = Scored({"score": part, "target": torch.arange(start, start + len(part)), "many": part[:, None]})
        shown = torch.arange(start, start + len(part))
        kept.add(np.arange(start, start + len(part)), scored, lambda at, shown=shown: {"image": shown[at]})
    everything = [KeptSample(index, float(score), {}, {}) for index, score in enumerate(scores)]
    expected = chosen(everything, 10, best=best)
    found = kept.choose()
    assert [sample.index for sample in found] == [sample.index for sample in expected]
    assert [int(sample.shown["image"]) for sample in found] == [sample.values["target"] for sample in found]
    assert np.isnan([sample.score for sample in found]).sum() == (0 if best else scores.isnan().sum())


def test_none_are_kept_of_none() -> None:
    kept = Extremes(0, best=True)
    kept.add(np.arange(3), Scored({"score": torch.ones(3)}), lambda at: {})
    assert kept.choose() == []


def test_either_is_the_same_without_a_look() -> None:
    yes, no = torch.ones(2), torch.zeros(2)
    for value in (True, False):
        condition = torch.tensor(value)
        assert torch.equal(either(condition, lambda: yes, lambda: no), torch.where(condition, yes, no))


@pytest.mark.parametrize("size", [10, 11, 12])
@pytest.mark.parametrize("drop", [True, False])
def test_indices_of_a_distributed_sampler(size: int, drop: bool) -> None:
    data, seen, repeated = torch.utils.data.TensorDataset(torch.arange(size)), [], 0
    for rank in range(3):
        sampler = torch.utils.data.DistributedSampler(data, 3, rank, shuffle=False, drop_last=drop)
        loader = torch.utils.data.DataLoader(data, batch_size=2, sampler=sampler)
        indices = SampleIndices(loader)
        assert indices.is_known
        for (batch,) in loader:
            found, _, is_first = indices.next(len(batch))
            assert found.tolist() == batch.tolist()
            kept = batch if is_first is None else batch[is_first]
            seen += kept.tolist()
            repeated += len(batch) - len(kept)
    assert sorted(seen) == list(range(size - size % 3 if drop else size))
    assert repeated == (0 if drop else -size % 3)
