"""Warm-up: a factor on the learning rates of an optimizer's first steps, which no other scheduler notices."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lighter.config.problems import nearest
from lighter.errors import ModuleValueError

START_FACTOR = 0.01
KINDS: Mapping[str, Callable[[float, float], float]] = {  # of the start factor and the share of the steps that are done
    "linear": lambda start, done: start + (1 - start) * done,
    "constant": lambda start, done: start,
    "exponential": lambda start, done: start ** (1 - done),
}


class Warmup(LRScheduler):
    """Smaller learning rates at first: `factor(t)` times what they would be without it.

    With `t` steps of the optimizer done, N = `steps` and s = `start_factor`, for t < N

        linear        factor(t) = s + (1 - s) * t / N
        constant      factor(t) = s
        exponential   factor(t) = s ** (1 - t / N)

    and factor(t) = 1 from t = N on. Linear and constant are the gradual and the constant warm-up of Goyal et al., 2017
    (https://arxiv.org/abs/1706.02677, section 2.2).

    `group["lr"]` is the learning rate that the optimizer uses, so everybody who looks at it sees the warm-up. A
    scheduler that goes on from `group["lr"]` must not see it: `leave_alone` shows it the learning rates without the
    factor. Whoever else sets `group["lr"]` meanwhile sets the one without the factor.

    Args:
        optimizer: whose learning rates are warmed up.
        steps: how many steps of the optimizer it takes.
        kind: `linear`, `constant` or `exponential`.
        start_factor: from 0 to 1; for `exponential` more than 0.

    Raises:
        ModuleValueError: one of these is wrong.
    """

    def __init__(
        self, optimizer: Optimizer, steps: int, kind: str = "linear", start_factor: float = START_FACTOR
    ) -> None:
        problems = list(warmup_problems({"steps": steps, "kind": kind, "start_factor": start_factor}))
        if problems:
            raise ModuleValueError(" ".join(f"{message}. {hint}".rstrip() for _, message, hint in problems))
        self.steps, self.kind, self.start_factor = int(steps), kind, float(start_factor)
        self.unwarmed = learning_rates(optimizer)
        self._last_lr: list[Any] = list(self.unwarmed)
        self._is_lifted = False
        super().__init__(optimizer)

    def __str__(self) -> str:
        return f"{self.kind} warm-up from {self.start_factor:g}, {self.steps} steps"

    @property
    def is_over(self) -> bool:
        """Whether the factor is 1 from now on."""
        return self.last_epoch >= self.steps

    def factor(self, t: int) -> float:
        """What the learning rates are multiplied by after `t` steps of the optimizer."""
        return 1.0 if t >= self.steps else KINDS[self.kind](self.start_factor, t / self.steps)

    def get_lr(self) -> list[Any]:
        """The learning rates now, one for each parameter group."""
        return [lr * self.factor(self.last_epoch) for lr in self.unwarmed]

    def step(self, epoch: int | None = None) -> None:
        """Go one step on. Once it is over, it does not touch the learning rates any more."""
        if not self.is_over:
            self._heed_others()
            self.last_epoch += 1
            self._apply()

    @contextmanager
    def lifted(self) -> Iterator[None]:
        """For somebody who changes the learning rates: they are those without the factor for as long as this lasts."""
        if self.is_over or self._is_lifted:
            yield
            return
        self._heed_others()
        self._is_lifted = True
        set_learning_rates(self.optimizer, self.unwarmed)
        try:
            yield
        finally:
            self._is_lifted = False
            self.unwarmed = learning_rates(self.optimizer)
            self._apply()

    def begin(self) -> None:
        """Begin with the learning rates that the optimizer has now."""
        self.last_epoch, self.unwarmed = 0, learning_rates(self.optimizer)
        self._apply()

    def end(self) -> None:
        """End at once: the learning rates are those without the factor."""
        with self.lifted():
            self.last_epoch = self.steps

    def state_dict(self) -> dict[str, Any]:
        """Where it is, and the learning rates without the factor; what was chosen in the config is not part of it."""
        unwarmed = learning_rates(self.optimizer) if self.is_over else list(self.unwarmed)
        return {"last_epoch": self.last_epoch, "unwarmed": unwarmed}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.last_epoch, self.unwarmed = state_dict["last_epoch"], list(state_dict["unwarmed"])
        self._apply()

    def _apply(self) -> None:
        set_learning_rates(self.optimizer, self.get_lr())
        self._last_lr = learning_rates(self.optimizer)

    def _heed_others(self) -> None:
        """Take learning rates that somebody else has set, and parameter groups that are new, as they are."""
        found = learning_rates(self.optimizer)
        known = zip(self._last_lr, self.unwarmed, strict=True)
        self.unwarmed = [
            lr if shown != lr else unwarmed for lr, (shown, unwarmed) in zip(found, known, strict=False)
        ] + found[len(self.unwarmed) :]


def warmup_problems(settings: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """What is wrong with the arguments of a warm-up: key, message and hint of each mistake."""
    for key in settings:
        if key not in ("steps", "kind", "start_factor"):
            yield key, f"a warm-up has no `{key}`", nearest(key, ("steps", "kind", "start_factor"))
    steps, kind = settings.get("steps"), settings.get("kind", "linear")
    if steps is None:
        yield "", "a warm-up needs `steps`", "How many steps of the optimizer it takes, `steps: 500` say."
    elif not _is_number(steps) or steps != int(steps) or steps < 1:
        yield "steps", f"`steps` is a whole number, 1 or more; found {steps!r}", ""
    if kind not in list(KINDS):  # a list, which compares: what was found may be anything
        yield "kind", f"a warm-up's `kind` is {', '.join(KINDS)}; found {kind!r}", nearest(kind, KINDS)
    start = settings.get("start_factor", START_FACTOR)
    if not _is_number(start) or not 0 <= start <= 1:
        yield "start_factor", f"`start_factor` is a number from 0 to 1; found {start!r}", ""
    elif kind == "exponential" and start == 0:
        yield "start_factor", "an exponential warm-up cannot start from 0", "Take a small number, 0.001 say."


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < float("inf")


def learning_rates(optimizer: Optimizer) -> list[float]:
    """The learning rate of each parameter group."""
    return [float(group["lr"]) for group in optimizer.param_groups]


def set_learning_rates(optimizer: Optimizer, values: Sequence[float]) -> None:
    """Set the learning rate of each parameter group."""
    for group, lr in zip(optimizer.param_groups, values, strict=False):
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(lr)
        else:
            group["lr"] = lr


def leave_alone(scheduler: Any, warmup: Warmup) -> None:
    """Let a scheduler step as if there were no warm-up, whoever calls it.

    Its class becomes one of the same name that lifts the warm-up around `step`, as torch's parametrizations do with
    modules. An attribute `step` of its own would be in its `state_dict`.
    """
    kind = type(scheduler)

    def step(self: Any, *args: Any, **kwargs: Any) -> Any:
        with warmup.lifted():
            return kind.step(self, *args, **kwargs)

    names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__}
    scheduler.__class__ = type(kind.__name__, (kind,), {**names, "step": step})
