"""What `forward` may return, and the total of its losses."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch

from lighter.errors import ModuleTypeError, ModuleValueError
from lighter.parts.metrics.forward_output import sort_forward, with_total
from lighter.parts.metrics.loss_weights import LossWeights

one, two, three = torch.tensor(1.0), torch.tensor(2.0), torch.tensor([3.0])


@pytest.mark.parametrize(
    ("losses", "weights", "expected"),
    [
        ({"loss": one}, None, {"total": 1}),
        ({"ce_loss": one, "kl_loss": two, "norm": three}, None, {"total": 3, "ce_loss": 1, "kl_loss": 2, "norm": 3}),
        ({"ce_loss": one, "kl_loss": two}, {"kl_loss": 0.5}, {"total": 2, "ce_loss": 1, "kl_loss": 1}),
        ({"loss": three, "ce_loss": one}, None, {"total": 3, "ce_loss": 1}),
        ({"loss": three, "ce_loss": one}, {"loss": 2}, {"total": 6, "ce_loss": 1}),
        ({"ce_loss": one, "steps": 4}, None, {"total": 1, "ce_loss": 1, "steps": 4}),
    ],
)
def test_the_total(losses: dict[str, Any], weights: dict[str, float] | None, expected: dict[str, float]) -> None:
    assert with_total(losses, LossWeights(weights) if weights else None) == expected


def test_a_weight_that_does_not_count_is_said() -> None:
    with pytest.warns(UserWarning, match="`loss_weights` weighs `norm`, which is only observed: .* made of `ce_loss`"):
        assert with_total({"ce_loss": one, "norm": two}, LossWeights({"norm": 2}))["norm"] == 4


def test_a_weight_for_no_loss_is_a_mistake_in_training() -> None:
    weights = LossWeights({"aux_loss": 2})
    with pytest.raises(ModuleValueError, match=r"names `aux_loss`, and there is no such loss. Did you mean `ce_loss`"):
        with_total({"ce_loss": one}, weights)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert with_total({"ce_loss": one}, weights, strict=False) == {"total": 1, "ce_loss": 1}


@pytest.mark.parametrize(
    ("losses", "kind", "message"),
    [
        ({"ce": one}, ModuleValueError, r"no entry of `loss_dict` counts: one called `loss`, .* found \['ce'\]"),
        ({}, ModuleValueError, "no entry of `loss_dict` counts"),
        ({"total": one}, ModuleValueError, "has the entry `total`, the name of the sum of losses; call it `loss`"),
        ({"loss": torch.zeros(2)}, ModuleValueError, r"`loss_dict::loss` has the shape \(2,\); a loss is one number"),
        ({"loss": "1"}, ModuleTypeError, "`loss_dict::loss` is a str \\('1'\\), not a tensor"),
    ],
)
def test_wrong_losses(losses: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        with_total(losses, None)


def test_what_forward_returns() -> None:
    assert sort_forward(one) == ({"loss": one}, None, {})
    output = {"loss_dict": {"loss": one}, "metric_dict": {"preds": two}, "pred": two}
    assert sort_forward(output) == (output["loss_dict"], output["metric_dict"], output)
    assert sort_forward({"pred": two}) == (None, None, {"pred": two})


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ([one], "`forward` returned a list of 1"),
        ({"losses_dict": {}}, "the key `losses_dict`, and without `loss_dict`, which may be meant"),
        ({"loss": one}, "the key `loss`, and without `loss_dict`, which may be meant"),
        ({"loss_dict": {}, "metrics": {}}, "the key `metrics`, and without `metric_dict`, which may be meant"),
        ({"loss_dict": one}, "`forward` returned a `loss_dict` that is a tensor of shape"),
        ({"metric_dict": [one]}, "`forward` returned a `metric_dict` that is a list of 1"),
    ],
)
def test_wrong_output(output: Any, message: str) -> None:
    with pytest.raises((ModuleTypeError, ModuleValueError), match=message):
        sort_forward(output)
