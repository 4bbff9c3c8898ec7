"""Results of a regression: residuals, and the errors of each output. The score of a sample is its -squared error."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics.functional import r2_score

from lighter.callbacks.evaluation.tally import Arrays, Scored, Tally, finite_samples, known, number, numbers, single
from lighter.errors import MisfitError
from lighter.parts.describe import describe

MAX_OUTPUTS = 16  # of which every value is kept
MAX_POINTS = 2000


class RegressionTally(Tally):
    """Keep predictions and targets of one or several outputs; of very many, only the error of each sample."""

    def __init__(self, pred: Tensor, target: Tensor) -> None:
        super().__init__()
        self.outputs = pred[:1].numel() if len(pred) else max(1, pred.numel())
        if pred.numel() != target.numel():
            message = f"predictions are {describe(pred)}, and targets {describe(target)}: as many are needed"
            raise MisfitError(message, "report")

    def update(self, pred: Tensor, target: Tensor) -> Scored:
        pred, target = single(pred).reshape(len(pred), -1), single(target).reshape(len(target), -1).to(pred.dtype)
        valid = finite_samples(pred, target)
        difference = pred - target
        score = torch.where(valid, -difference.square().mean(1), torch.nan)
        if self.outputs == 1:
            return Scored({"score": score, "target": target[:, 0], "prediction": pred[:, 0]})
        if self.outputs <= MAX_OUTPUTS:
            return Scored({"score": score, "targets": target, "predictions": pred})
        return Scored({"score": score, "absolute": difference.abs().mean(1)})

    def result(self, samples: Arrays) -> dict[str, Any]:
        result: dict[str, Any] = {"task": "regression"}
        if not len(samples["score"]):
            return {**result, "metrics": {}}
        rmse = float(np.sqrt(-samples["score"].astype(np.float64).mean()))
        if self.outputs > MAX_OUTPUTS:
            return {**result, "metrics": known({"rmse": rmse, "mae": samples["absolute"].mean()})}
        plural = "" if self.outputs == 1 else "s"
        target, prediction = (
            torch.from_numpy(samples[name + plural].astype(np.float64)).reshape(-1, self.outputs)
            for name in ("target", "prediction")
        )
        by_output = _by_output(prediction, target)
        overall = known({name: values.mean() for name, values in by_output.items()} | {"rmse": rmse})
        residuals = {**_points(target, prediction), "r2": overall.get("r2"), "rmse": number(rmse)}
        if self.outputs > 1:
            result["per_output"] = {name: numbers(values) for name, values in by_output.items()}
        return {**result, "metrics": overall, "residuals": residuals}


def _by_output(prediction: Tensor, target: Tensor) -> dict[str, Tensor]:
    difference = prediction - target
    values = {"rmse": difference.square().mean(0).sqrt(), "mae": difference.abs().mean(0)}
    if len(target) > 1:  # one sample has no variance that could be explained
        # as torchmetrics refuses the shape (N, 1)
        values["r2"] = torch.stack([r2_score(prediction[:, each], target[:, each]) for each in range(target.shape[1])])
    return values


def _points(target: Tensor, prediction: Tensor) -> dict[str, Any]:
    """Return some points, evenly chosen from all samples in the order of their targets."""
    each = max(1, MAX_POINTS // target.shape[1])
    order = target[:, 0].argsort(stable=True)
    if len(order) > each:
        order = order[torch.linspace(0, len(order) - 1, each).round().long()]
    points: dict[str, Any] = {
        "target": numbers(target[order].T.reshape(-1)),
        "prediction": numbers(prediction[order].T.reshape(-1)),
    }
    if target.shape[1] > 1:
        points["output"] = [output for output in range(target.shape[1]) for _ in range(len(order))]
    return points
