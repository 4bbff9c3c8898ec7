"""What `test_processes.py` runs on two processes: prints a line of JSON of what each of them found."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import distributed
from torchmetrics import MeanMetric, Metric, MetricCollection
from torchmetrics.classification import BinaryAUROC, MulticlassAccuracy, MulticlassF1Score, MulticlassRecall
from torchmetrics.wrappers import MinMaxMetric

from lighter.parts.metrics.foreign import as_members
from lighter.parts.metrics.meter import Meter
from tests.parts.metrics.test_foreign import Updates

EXCHANGES = ("all_reduce", "all_gather", "all_gather_object", "barrier")


def digits(**metrics: Metric) -> MetricCollection:
    return MetricCollection(
        {"accuracy": MulticlassAccuracy(5), "recall": MulticlassRecall(5), "f1": MulticlassF1Score(5), **metrics}
    )


def update(meter: Meter, case: str, rank: int) -> None:
    generator = torch.Generator().manual_seed(rank)
    pred = torch.randn(40, 5, generator=generator)
    target = torch.randint(5, (40,), generator=generator)
    losses = {"": pred.mean(), "other": pred.std()}
    if case == "losses of one" and rank:
        del losses["other"]
    meter.add(losses, 3 + rank)
    if case == "updates of one" and rank:
        return
    if case == "a metric of lists":
        meter.metrics.update(pred[:, 0], target % 2)
    elif case == "a mean":
        meter.metrics.update(pred)
    else:
        meter.metrics.update(pred, target)


METRICS: dict[str, Any] = {
    "sums": digits,
    "losses of one": digits,
    "updates of one": digits,
    "a metric of lists": BinaryAUROC,
    "a mean": MeanMetric,
    "of another library": lambda: MetricCollection(as_members({"mine": Updates()})),
    "a metric in another": lambda: digits(best=MinMaxMetric(MulticlassAccuracy(5))),
}


def count_exchanges(counts: Counter) -> None:
    def counted(name: str, exchange: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            counts[name] += 1
            return exchange(*args, **kwargs)

        return call

    for name in EXCHANGES:
        setattr(distributed, name, counted(name, getattr(distributed, name)))


def states(metrics: list[Metric]) -> str:
    return repr([{name: getattr(metric, name) for name in metric._defaults} for metric in metrics])


def measure(case: str, rank: int, counts: Counter) -> dict[str, Any]:
    meter = Meter(METRICS[case]())
    meter.start()
    update(meter, case, rank)
    theirs = meter.metrics.compute()
    metrics = [metric for metric in meter.metrics.modules() if isinstance(metric, Metric)]
    for metric in metrics:
        metric._computed = None  # or it would not be asked again
    before = states(metrics)
    counts.clear()
    ours = meter.values()
    return {
        "ours": {name: value.tolist() for name, value in ours.items()},
        "theirs": {name: v.tolist() for name, v in theirs.items()} if isinstance(theirs, dict) else theirs.tolist(),
        "exchanges": dict(counts),
        "has_its_own": before == states(metrics),
        "gathers_itself": all(metric.dist_sync_fn is None for metric in metrics),
    }


def main() -> None:
    distributed.init_process_group("gloo")
    counts: Counter = Counter()
    count_exchanges(counts)
    found = {case: measure(case, distributed.get_rank(), counts) for case in METRICS}
    distributed.barrier()
    distributed.destroy_process_group()
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
