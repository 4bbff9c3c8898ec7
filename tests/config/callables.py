"""Targets of every kind that Python has, for the tests of false alarms."""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, Protocol, TypedDict, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.classification import MulticlassF1Score as Dice

from lighter import LighterModule, System
from lighter.callbacks import CsvWriter

T = TypeVar("T")
Rate = NewType("Rate", float)


class Color(Enum):
    RED = "red"


class Options(TypedDict, total=False):
    size: int


class Sized(Protocol):
    size: int


def anything(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
    return args, kwargs


def keywords(size: int = 1, **options: Any) -> Any:
    return size, options


unnamed = lambda x, y=2: (x, y)  # noqa: E731
half = functools.partial(keywords, size=2)
placed = functools.partial(unnamed, 1)


def adds_an_argument(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def inner(*args: Any, retries: int = 1, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return inner


def takes_one_away(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def inner(*args: Any, **kwargs: Any) -> Any:
        kwargs.pop("verbose", None)
        return function("injected", *args, **kwargs)

    return inner


def converts(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def inner(value: Any) -> Any:
        return function(int(value))

    return inner


@adds_an_argument
def decorated(size: int) -> int:
    return size


@takes_one_away
def injected(name: str, size: int) -> Any:
    return name, size


@converts
def converted(value: int) -> int:
    return value


@functools.singledispatch
def dispatched(value: int) -> Any:
    return value


@dispatched.register
def _(value: str) -> Any:
    return value


@functools.lru_cache
def cached(size: int) -> int:
    return size


class Base:
    def __init__(self, size: int, name: str = "") -> None:
        self.size, self.name = size, name


class Inherits(Base):
    pass


class PassesOn(Base):
    def __init__(self, *args: Any, extra: int = 0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)


class Meta(type):
    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        kwargs.pop("registered", None)
        return super().__call__(*args, **kwargs)


class WithMeta(metaclass=Meta):
    def __init__(self, size: int) -> None:
        self.size = size


class New:
    def __new__(cls, *args: Any, **kwargs: Any) -> New:
        return super().__new__(cls)

    def __init__(self, size: int, **rest: Any) -> None:
        self.size = size


class NewOnly:
    def __new__(cls, size: int) -> Any:
        return size


class Called:
    def __call__(self, size: int) -> int:
        return size


instance = Called()


@dataclass
class Data:
    size: int
    items: list[int] = field(default_factory=list)


class Named(NamedTuple):
    size: int = 1


class Box(Generic[T]):
    def __init__(self, value: T) -> None:
        self.value = value

    @classmethod
    def of(cls, value: T) -> Box[T]:
        return cls(value)

    @staticmethod
    def plain(value: Any) -> Any:
        return value


class Documented:
    """Has a signature of its own making."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass


Documented.__signature__ = __import__("inspect").signature(lambda alias: None)  # as pydantic does


class Module(nn.Module):
    def __init__(self, width: int, activation: str | Callable[[Tensor], Tensor] = "relu") -> None:
        super().__init__()


def annotated(
    number: float = 1,
    whole: int = 1,
    sloppy: int = 0.5,  # type: ignore[assignment]
    implicit: str = None,  # type: ignore[assignment]  # noqa: RUF013
    flag: bool = False,
    path: Path | None = None,
    either: int | str | None = None,
    choice: Literal["a", "b", 1] = "a",
    items: Sequence[int] = (),
    pair: tuple[float, float] = (0.9, 0.99),
    many: tuple[int, ...] = (),
    text: Iterable[str] = "",
    table: Mapping[str, float] | None = None,
    ordered: OrderedDict | None = None,
    color: Color = Color.RED,
    rate: Rate = Rate(0.1),
    noted: Annotated[int, "at least 1"] = 1,
    array: np.ndarray | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    options: Options | None = None,
    sized: Sized | None = None,
    generic: T | None = None,
    unknown: NotThere | None = None,  # type: ignore[name-defined]  # noqa: F821
    function: Callable[[int], int] | None = None,
    module: nn.Module | None = None,
    kind: type = int,
    lists: list[list[int]] | None = None,
    unions: list[int | str] | int = 0,
    floats: list[float] | float = 0.0,
) -> dict[str, Any]:
    return locals()


class Own(LighterModule):
    """A module whose metrics are its own."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments, val_metrics={"dice": Dice(num_classes=10)})

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self(batch[0]).sum()

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        return self(batch[0]).sum()


class MeanDistance(Metric):
    """A metric of one number, which no annotation says."""

    def __init__(self):
        super().__init__()
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, preds, target):
        self.total += (preds.argmax(1) - target).abs().sum()
        self.count += len(target)

    def compute(self):
        mean = torch.tensor(0.0)
        if self.count:
            mean = self.total / self.count
        return mean


class Spread(MeanDistance):
    """A metric of several numbers by name."""

    def compute(self):
        return {"mean": self.total / self.count, "sum": self.total}


class Opaque(MeanDistance):
    """A metric of which it is not known what it computes."""

    def compute(self):
        return _anything(self)


def _anything(metric):
    return metric.total


class OwnEvaluator:
    """No metric of torchmetrics, so that its values are named by its key."""

    update = compute = reset = _anything


class SeveralLosses(nn.Module):
    def forward(self, pred, target):
        loss = nn.functional.cross_entropy(pred, target)
        return {"total": loss, "ce": loss}


class PassesAllOn(LighterModule):
    def __init__(self, width: int = 2, **kwargs):
        super().__init__(network=nn.Linear(width, width), **kwargs)


class Warm(PassesAllOn):
    def __init__(self, temperature: float = 1.0, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.temperature = temperature


class TakesSomeOut(LighterModule):
    def __init__(self, **kwargs):
        self.extra = kwargs.pop("extra", None)
        super().__init__(**kwargs)


class Keeps(LighterModule):
    def __init__(self, **options):
        super().__init__()
        self.options = options


class PassesOnOne(PassesAllOn):
    def __init__(self, **kwargs):
        super().__init__(width=kwargs["width"])


class OwnSystem(System):
    def __init__(self, depth: int, **kwargs):
        super().__init__(nn.Linear(depth, depth), **kwargs)


class OwnWriter(CsvWriter):
    def __init__(self, note: str = "", **kwargs):
        super().__init__(**kwargs)
