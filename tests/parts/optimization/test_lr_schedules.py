"""Schedules that step with the optimizer: the closed form of the warm-up at every iteration, and what is beside it."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, Optimizer
from torch.optim import lr_scheduler as torch_schedulers

from lighter.errors import CheckpointError, ModuleValueError
from lighter.parts.optimization.lr_schedules import ManualSchedule, ManualSchedules
from lighter.parts.optimization.schedulers import build_scheduler
from lighter.parts.optimization.warmup import Warmup

RATES, STEPS_OF_EPOCH, EPOCHS, N = [0.1, 0.003], 5, 6, 13
CLOSED_FORMS: dict[str, Callable[[float, int], float]] = {
    "linear": lambda s, t: 1.0 if t >= N else s + (1 - s) * t / N,
    "constant": lambda s, t: 1.0 if t >= N else s,
    "exponential": lambda s, t: 1.0 if t >= N else s ** (1 - t / N),
}
OTHERS: dict[str, tuple[Callable[[Optimizer], Any], str]] = {
    "none": (lambda optimizer: None, "epoch"),
    "StepLR": (lambda o: torch_schedulers.StepLR(o, 2, gamma=0.3), "epoch"),
    "StepLR by step": (lambda o: torch_schedulers.StepLR(o, 4, gamma=0.7), "step"),
    "CosineAnnealingLR": (lambda o: torch_schedulers.CosineAnnealingLR(o, EPOCHS, eta_min=0.001), "epoch"),
    "CosineAnnealingLR by step": (lambda o: torch_schedulers.CosineAnnealingLR(o, 20, eta_min=0.001), "step"),
    "ReduceLROnPlateau": (
        lambda o: torch_schedulers.ReduceLROnPlateau(o, patience=0, factor=0.4, min_lr=0.001),
        "epoch",
    ),
    "ChainedScheduler by step": (
        lambda o: torch_schedulers.ChainedScheduler(
            [torch_schedulers.ExponentialLR(o, 0.9), torch_schedulers.ExponentialLR(o, 0.8)], o
        ),
        "step",
    ),
    "OneCycleLR by step": (
        lambda o: torch_schedulers.OneCycleLR(o, [1.0, 2.0], total_steps=31, cycle_momentum=False),
        "step",
    ),
}


def optimizer(rates: list[Any] = RATES, kind: type[Optimizer] = SGD, **options: Any) -> Optimizer:
    groups = [{"params": [nn.Parameter(torch.ones(3))], "lr": rate} for rate in rates]
    return kind(groups, **options)


def rates(of: Optimizer) -> list[float]:
    return [float(group["lr"]) for group in of.param_groups]


def step(of: Optimizer) -> None:
    for group in of.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.ones_like(parameter)
    of.step()


def iterations(of: Optimizer, other: Any, interval: str) -> list[list[float]]:
    """The learning rates that each step of the optimizer uses, with a scheduler stepped as a trainer steps it."""
    used = []
    for _, batch in itertools.product(range(EPOCHS), range(STEPS_OF_EPOCH)):
        used.append(rates(of))
        step(of)
        if other is not None and (interval == "step" or batch == STEPS_OF_EPOCH - 1):
            other.step(*([1.0] if isinstance(other, torch_schedulers.ReduceLROnPlateau) else []))
    return used


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize(
    ("kind", "start"), [("linear", 0.01), ("linear", 0.0), ("constant", 0.1), ("constant", 0.0), ("exponential", 0.001)]
)
def test_closed_form_at_every_iteration_whatever_comes_after(kind: str, start: float, name: str) -> None:
    make, interval = OTHERS[name]
    plain = optimizer()
    alone = iterations(plain, make(plain), interval)
    warmed = optimizer()
    entry = {"scheduler": make, "monitor": "loss"} if name != "none" else {}
    beside, [warmup] = build_scheduler({**entry, "warmup": {"steps": N, "kind": kind, "start_factor": start}}, warmed)
    found = iterations(warmed, beside["scheduler"] if beside else None, interval)
    factors = [warmup.scheduler.factor(t) for t in range(EPOCHS * STEPS_OF_EPOCH)]
    assert factors == pytest.approx([CLOSED_FORMS[kind](start, t) for t in range(len(factors))], rel=1e-12)
    assert found == [[factor * rate for rate in group] for factor, group in zip(factors, alone, strict=True)]
    assert rates(warmed) == rates(plain)
    assert warmup.scheduler.is_over


def test_a_warm_up_is_gone_when_it_is_over() -> None:
    """Also where the other scheduler had its last step in the middle of it, and with learning rates in tensors."""
    of = optimizer([torch.tensor(0.1)], kind=Adam)
    beside, _ = build_scheduler(
        {"scheduler": lambda o: torch_schedulers.StepLR(o, 1, gamma=0.5), "warmup": {"steps": 4}}, of
    )
    tensor = of.param_groups[0]["lr"]
    step(of)
    beside["scheduler"].step()
    for _ in range(5):
        step(of)
    assert of.param_groups[0]["lr"] is tensor
    assert rates(of) == [pytest.approx(0.05)]


def test_the_other_scheduler_stays_what_it_is() -> None:
    make, _ = OTHERS["CosineAnnealingLR"]
    plain, warmed = optimizer(), optimizer()
    alone = make(plain)
    beside = build_scheduler({"scheduler": make, "warmup": {"steps": N}}, warmed)[0]["scheduler"]
    assert isinstance(beside, torch_schedulers.CosineAnnealingLR)
    assert beside.__class__ is torch_schedulers.CosineAnnealingLR
    assert beside.state_dict() == alone.state_dict()
    assert beside.get_last_lr() == RATES
    assert (beside.T_max, beside.last_epoch) == (alone.T_max, 0)
    copied = copy.deepcopy(beside)
    assert copied.state_dict() == beside.state_dict()


def test_learning_rates_that_somebody_else_sets_are_those_without_the_factor() -> None:
    of = optimizer([0.1])
    build_scheduler({"warmup": {"steps": 4, "start_factor": 0.2}}, of)
    step(of)
    assert rates(of) == [pytest.approx(0.1 * 0.4)]
    of.param_groups[0]["lr"] = 0.5
    of.add_param_group({"params": [nn.Parameter(torch.ones(1))], "lr": 0.3})
    step(of)
    assert rates(of) == [pytest.approx(0.5 * 0.6), pytest.approx(0.3 * 0.6)]
    step(of)
    assert rates(of) == [pytest.approx(0.5 * 0.8), pytest.approx(0.3 * 0.8)]


@pytest.mark.parametrize("place", ["manual", "warmup", "warmup with frequency"])
def test_schedulers_of_torch_step_with_the_optimizer(place: str) -> None:
    frequency = 3 if place == "warmup with frequency" else 1
    made = {"scheduler": lambda o: torch_schedulers.LinearLR(o, 0.1, total_iters=4), "frequency": frequency}
    entry: Any = {**made, "manual": True} if place == "manual" else {"warmup": made}
    if place == "warmup":
        entry = {"warmup": made["scheduler"]}
    of = optimizer([0.1])
    beside, [schedule] = build_scheduler(entry, of)
    assert beside is None
    used = []
    for _ in range(15):
        used.append(rates(of)[0])
        step(of)
    expected = [0.1 * min(1, 0.1 + 0.9 * (t // frequency) / 4) for t in range(15)]
    assert used == pytest.approx(expected)
    assert schedule.done == 15


def test_a_step_that_mixed_precision_skips_does_not_count() -> None:
    for fused in (False, True):  # a fused optimizer is called all the same, and skips the step itself
        of = optimizer([0.1], kind=Adam, fused=fused)
        scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
        _, [schedule] = build_scheduler({"warmup": {"steps": 10}}, of)
        for value in (1.0, float("inf"), 1.0, float("inf"), 1.0):
            of.zero_grad()
            scaler.scale((of.param_groups[0]["params"][0] * value).sum()).backward()
            scaler.step(of)
            scaler.update()
        assert schedule.done == schedule.scheduler.last_epoch == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "a warm-up needs `steps`. How many steps of the optimizer it takes, `steps: 500` say."),
        ({"steps": 0}, "`steps` is a whole number, 1 or more; found 0"),
        ({"steps": 1.5}, "`steps` is a whole number, 1 or more; found 1.5"),
        ({"steps": "10"}, "`steps` is a whole number, 1 or more; found '10'"),
        (
            {"steps": 5, "kind": "lineer"},
            "a warm-up's `kind` is linear, constant, exponential; found 'lineer'. Did you mean `linear`?",
        ),
        ({"steps": 5, "kind": []}, "a warm-up's `kind` is linear, constant, exponential; found []"),
        ({"steps": 5, "start_factor": 1.5}, "`start_factor` is a number from 0 to 1; found 1.5"),
        ({"steps": 5, "start_factor": -1}, "`start_factor` is a number from 0 to 1; found -1"),
        (
            {"steps": 5, "kind": "exponential", "start_factor": 0},
            "an exponential warm-up cannot start from 0. Take a small number, 0.001 say.",
        ),
        ({"steps": 5, "start_facter": 0.1}, "a warm-up has no `start_facter`. Did you mean `start_factor`?"),
        (
            {"steps": -1, "start_factor": 2},
            "`steps` is a whole number, 1 or more; found -1. `start_factor` is a number from 0 to 1; found 2",
        ),
    ],
)
def test_wrong_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ModuleValueError) as caught:
        build_scheduler({"warmup": settings}, optimizer())
    assert str(caught.value).startswith(message)


def test_the_class_checks_its_arguments_too() -> None:
    with pytest.raises(ModuleValueError, match="`steps` is a whole number, 1 or more; found 0"):
        Warmup(optimizer(), steps=0)
    assert Warmup(optimizer(), steps=1e3).steps == 1000


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"warmpu": {"steps": 3}, "scheduler": Adam}, "a scheduler's dict has no `warmpu`. Did you mean `warmup`?"),
        ({"warmup": 100}, "`warmup` is a dict; found 100. For example:"),
        ({"warmup": {"scheduler": None, "steps": 3}}, "a scheduler in `warmup` has no `steps`. There is: scheduler"),
        ({"scheduler": Adam, "manual": "yes"}, "`manual` is true or false; found 'yes'"),
        ({"warmup": {"steps": 1}, "manual": True}, "`manual` says how `scheduler` steps, and there is none"),
        ({"scheduler": Adam, "manual": True, "frequency": 0}, "`frequency` is a whole number, 1 or more; found 0"),
        (
            {"scheduler": Adam, "manual": True, "interval": "step"},
            "a manual scheduler has no `interval`. It steps after every step of the optimizer, or",
        ),
        (
            {"scheduler": torch_schedulers.ReduceLROnPlateau, "manual": True},
            "ReduceLROnPlateau watches a value, so it cannot step after every step of the optimizer. Leave it",
        ),
        ({"scheduler": 3}, "a scheduler has a method `step`; found a int (3). For example:"),
        ({}, "a scheduler's dict has the key `scheduler`; found []. For example:"),
    ],
)
def test_wrong_entries(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(ModuleValueError) as caught:
        build_scheduler(entry, optimizer())
    assert str(caught.value).startswith(message)


def schedules(of: Optimizer, *made: ManualSchedule) -> ManualSchedules:
    found = ManualSchedules()
    found.set(made)
    return found


def saved_after(steps: int, entry: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The states, in a checkpoint and of the optimizer, after some steps."""
    of = optimizer([0.1])
    _, manual = build_scheduler(entry, of)
    for _ in range(steps):
        step(of)
    checkpoint: dict[str, Any] = {}
    schedules(of, *manual).save(checkpoint)
    return checkpoint, of.state_dict()


def restored(checkpoint: dict[str, Any], state: dict[str, Any], entry: dict[str, Any]) -> tuple[Optimizer, list[str]]:
    of = optimizer([0.7])
    _, manual = build_scheduler(entry, of)
    found = schedules(of, *manual)
    found.load(checkpoint)
    of.load_state_dict(state)
    messages = list(found.restore([of]))
    assert list(found.restore([of])) == []  # once
    return of, messages


HALF = {"warmup": {"steps": 4, "start_factor": 0.2}}


@pytest.mark.parametrize(
    ("done", "saved", "now", "message", "expected"),
    [
        (2, HALF, HALF, None, [0.06, 0.08, 0.1, 0.1]),
        (4, HALF, HALF, None, [0.1, 0.1]),
        (2, HALF, {"warmup": {"steps": 8, "start_factor": 0.2}}, None, [0.04, 0.05]),
        (2, HALF, {"warmup": {"steps": 2}}, None, [0.1, 0.1]),
        (2, {}, HALF, "the checkpoint has no state of the linear warm-up from 0.2, 4 steps: it begins", [0.02, 0.04]),
        (2, HALF, {}, "the checkpoint was saved during a warm-up that the config does not have: it ends", [0.1, 0.1]),
        (4, HALF, {}, None, [0.1, 0.1]),
    ],
)
def test_restored_from_a_checkpoint(
    done: int, saved: dict[str, Any], now: dict[str, Any], message: str | None, expected: list[float]
) -> None:
    nothing = {"scheduler": lambda o: torch_schedulers.ConstantLR(o, 1.0)}
    of, messages = restored(*saved_after(done, saved or nothing), now or nothing)
    assert len(messages) == (message is not None)
    assert message is None or messages[0].startswith(message)
    for rate in expected:
        assert rates(of) == [pytest.approx(rate, rel=1e-12)]
        step(of)


def test_a_scheduler_of_torch_cannot_begin_in_the_middle() -> None:
    linear = {"warmup": lambda o: torch_schedulers.LinearLR(o, 0.1, total_iters=4)}
    of, messages = restored(*saved_after(2, linear), linear)
    assert messages == []
    assert rates(of) == [pytest.approx(0.1 * 0.55)]
    step(of)
    assert rates(of) == [pytest.approx(0.1 * 0.775)]
    with pytest.raises(CheckpointError, match=r"no state of the manual scheduler LinearLR.*Resume with the config"):
        restored(*saved_after(2, HALF), linear)
    _, messages = restored(*saved_after(2, linear), {"scheduler": lambda o: torch_schedulers.ConstantLR(o, 1.0)})
    assert messages == ["the checkpoint has the state of a manual LinearLR that the config does not have"]


def test_an_optimizer_that_is_used_again_has_one_warm_up() -> None:
    of = optimizer([0.1])
    for _ in range(2):
        _, manual = build_scheduler(HALF, of)
        found = schedules(of, *manual)
        step(of)
        assert rates(of) == [pytest.approx(0.04)]
        found.release()
        assert rates(of) == [0.1]
    step(of)
    assert rates(of) == [0.1]
