"""Warm-up of learning rates, which no other scheduler notices."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lighter.config.problems import nearest
from lighter.errors import ModuleValueError
from lighter.parts.proxy import Proxy

START_FACTOR = 0.01
KINDS: Mapping[str, Callable[[float, float], float]] = {  # of the start factor and the share of the steps that are done
    "linear": lambda start, done: start + (1 - start) * done,
    "constant": lambda start, done: start,
    "exponential": lambda start, done: start ** (1 - done),
}


class Warmup(LRScheduler):
    """A factor on the learning rates of an optimizer's first steps.

    With `t` steps of the optimizer done, N = `steps` and s = `start_factor`, for t < N

        linear        factor(t) = s + (1 - s) * t / N
        constant      factor(t) = s
        exponential   factor(t) = s ** (1 - t / N)

    and factor(t) = 1 from t = N on. Linear and constant are the gradual and the constant warm-up of Goyal et al., 2017
    (https://arxiv.org/abs/1706.02677, section 2.2).

    `group["lr"]` is the learning rate that the optimizer uses, so whatever reads it sees the warm-up. A scheduler that
    computes the next rate from `group["lr"]` must not: `SchedulerBesideWarmup` shows it the rates without the factor.
    A rate that the user sets meanwhile is one without the factor.

    Args:
        optimizer: whose learning rates are multiplied.
        steps: the number of the optimizer's steps, N.
        kind: `linear`, `constant` or `exponential`.
        start_factor: the first factor, s, from 0 to 1; for `exponential` more than 0.

    Raises:
        ModuleValueError: an argument is wrong.
    """

    def __init__(
        self, optimizer: Optimizer, steps: int, kind: str = "linear", start_factor: float = START_FACTOR
    ) -> None:
        problems = list(warmup_problems({"steps": steps, "kind": kind, "start_factor": start_factor}))
        if problems:
            raise ModuleValueError(" ".join(f"{message}. {hint}".rstrip() for _, message, hint in problems))
        # before `super().__init__`, which steps once
        self.steps, self.kind, self.start_factor = int(steps), kind, float(start_factor)
        self.unwarmed = learning_rates(optimizer)
        self._last_lr: list[Any] = list(self.unwarmed)
        self._is_lifted = False
        super().__init__(optimizer)

    def __str__(self) -> str:
        return f"{self.kind} warm-up from {self.start_factor:g}, {self.steps} steps"

    @property
    def is_over(self) -> bool:
        """True if the factor is 1 from now on."""
        return self.last_epoch >= self.steps

    def factor(self, t: int) -> float:
        return 1.0 if t >= self.steps else KINDS[self.kind](self.start_factor, t / self.steps)

    def get_lr(self) -> list[Any]:
        return [lr * self.factor(self.last_epoch) for lr in self.unwarmed]

    def step(self, epoch: int | None = None) -> None:
        """Advance by a step of the optimizer; once it is over, the learning rates are left alone."""
        if not self.is_over:
            self._adopt_changes()
            self.last_epoch += 1
            self._apply()

    @contextmanager
    def lifted(self) -> Iterator[None]:
        """Take the factor off the learning rates while another scheduler changes them."""
        if self.is_over or self._is_lifted:
            yield
            return
        self._adopt_changes()
        self._is_lifted = True
        set_learning_rates(self.optimizer, self.unwarmed)
        try:
            yield
        finally:
            self._is_lifted = False
            self.unwarmed = learning_rates(self.optimizer)
            self._apply()

    def begin(self) -> None:
        self.last_epoch, self.unwarmed = 0, learning_rates(self.optimizer)
        self._apply()

    def end(self) -> None:
        with self.lifted():
            self.last_epoch = self.steps

    def state_dict(self) -> dict[str, Any]:
        # the settings are the config's. Once it is over, others may have changed the rates
        unwarmed = learning_rates(self.optimizer) if self.is_over else list(self.unwarmed)
        return {"last_epoch": self.last_epoch, "unwarmed": unwarmed}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        self.last_epoch, self.unwarmed = state_dict["last_epoch"], list(state_dict["unwarmed"])
        self._apply()

    def _apply(self) -> None:
        set_learning_rates(self.optimizer, self.get_lr())
        self._last_lr = learning_rates(self.optimizer)

    def _adopt_changes(self) -> None:
        # a rate that somebody has set meanwhile is without the factor, and so is that of a new group
        now = learning_rates(self.optimizer)
        known = zip(self._last_lr, self.unwarmed, strict=True)
        self.unwarmed = [
            lr if shown != lr else unwarmed for lr, (shown, unwarmed) in zip(now, known, strict=False)
        ] + now[len(self.unwarmed) :]


def warmup_problems(settings: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield the mistakes in the arguments of a warm-up: key, message and hint of each."""
    for key in settings:
        if key not in ("steps", "kind", "start_factor"):
            yield key, f"a warm-up has no `{key}`", nearest(key, ("steps", "kind", "start_factor"))
    steps, kind = settings.get("steps"), settings.get("kind", "linear")
    if steps is None:
        yield "", "a warm-up needs `steps`", "How many steps of the optimizer it takes, `steps: 500` say."
    elif not _is_number(steps) or steps != int(steps) or steps < 1:
        yield "steps", f"`steps` is a whole number, 1 or more; found {steps!r}", ""
    if kind not in list(KINDS):  # a list, which compares: the value may be unhashable
        yield "kind", f"a warm-up's `kind` is {', '.join(KINDS)}; found {kind!r}", nearest(kind, KINDS)
    start = settings.get("start_factor", START_FACTOR)
    if not _is_number(start) or not 0 <= start <= 1:
        yield "start_factor", f"`start_factor` is a number from 0 to 1; found {start!r}", ""
    elif kind == "exponential" and start == 0:
        yield "start_factor", "an exponential warm-up cannot start from 0", "Take a small number, 0.001 say."


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < float("inf")


def learning_rates(optimizer: Optimizer) -> list[float]:
    return [float(group["lr"]) for group in optimizer.param_groups]


def set_learning_rates(optimizer: Optimizer, values: Sequence[float]) -> None:
    for group, lr in zip(optimizer.param_groups, values, strict=False):
        # in place, as a captured CUDA graph and `capturable` optimizers keep a reference to the tensor
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(lr)
        else:
            group["lr"] = lr


class SchedulerBesideWarmup(Proxy):
    """A scheduler that steps as if there were no warm-up, whoever calls it; everything else is the scheduler's own."""

    __slots__ = ("_warmup",)

    def __init__(self, scheduler: LRScheduler, warmup: Warmup) -> None:
        super().__init__(scheduler)
        object.__setattr__(self, "_warmup", warmup)

    def step(self, *args: Any, **kwargs: Any) -> None:
        # the scheduler computes the next learning rate from that of the group
        with self._warmup.lifted():
            self._wrapped.step(*args, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        return SchedulerBesideWarmup, (self._wrapped, self._warmup)
