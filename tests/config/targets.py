"""What the configs of these tests make."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any, Literal


class Thing:
    made = 0

    def __init__(self, size: int = 1, **parts: Any) -> None:
        type(self).made += 1
        self.size, self.parts = size, parts


class Strict:
    def __init__(self, in_features: int, out_features: int = 1) -> None:
        self.in_features, self.out_features = in_features, out_features

    @classmethod
    def of(cls, width: int = 1) -> Strict:
        return cls(width)


def _wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def inner(self: Any, *args: Any, **kwargs: Any) -> Any:
        return function(self, *args, **kwargs)

    return inner


class Decorated:
    @_wrapped
    def __init__(self, max_epochs: int = 1) -> None:
        self.max_epochs = max_epochs


class OwnError(Exception):
    pass


class Failing:
    def __init__(self, kind: str = "own") -> None:
        if kind == "own":
            raise OwnError("this is mine")
        if kind == "context":
            try:
                raise KeyError("first")
            except KeyError:
                raise OwnError("second")  # noqa: B904  the test is about the context
        if kind == "type":
            len(5)  # type: ignore[arg-type]
        if kind == "name":
            undefined  # type: ignore[name-defined]  # noqa: B018, F821
        raise ValueError(kind)


def fail(kind: str = "own") -> Failing:
    return Failing(kind)


def end() -> None:
    raise SystemExit


def stop() -> None:
    raise GeneratorExit


def needs_keyword(size: int = 1, *, width: int) -> None:
    pass


def by_position(size: int, /) -> None:
    pass


@dataclass
class Point:
    x: int = 0
    y: int = 0


half_strict = partial(Strict, 1)


class Inherits(Strict):
    pass


def scale(value: float, factor: float = 1.0) -> float:
    return value * factor


def typed(
    count: int = 1,
    function: Callable[..., Any] | None = None,
    options: Mapping[str, int] | None = None,
    mode: Literal["fast", "slow"] = "fast",
) -> None:
    pass


def lazily_typed(count: "int | None" = 1, thing: "NotThere | None" = None) -> None:  # type: ignore[name-defined]  # noqa: F821, UP037
    pass


class Color(enum.Enum):
    RED = 1
    GREEN = 2


def sized(
    color: Color | None = None,
    size: tuple[int, int] = (0, 0),
    sizes: list[tuple[int, ...]] | None = None,
    either: str | Color = "",
    listed: list[int] | tuple[int, ...] = (),
) -> tuple[object, ...]:
    return color, size, sizes, either, listed


class DiceMetric:
    """A metric with MONAI's methods, and not torchmetrics'."""

    def __call__(self, pred: Any, target: Any) -> None: ...

    def aggregate(self) -> float:
        return 1.0

    def reset(self) -> None: ...
