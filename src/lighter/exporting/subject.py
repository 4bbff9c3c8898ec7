"""The subject of an export: a network alone, or with the transforms of a System's adapters around it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from lighter.adapters import BatchAdapter, LoggingAdapter
from lighter.config.problems import Problem
from lighter.errors import ConfigError
from lighter.exporting.calls import Call, Shape, shapes
from lighter.exporting.evaluation import STAGES, Evaluation
from lighter.exporting.network import Network
from lighter.exporting.places import Names
from lighter.parts.model_inputs import NamedInputs, PositionalInputs, several_inputs
from lighter.parts.transforms import apply_transforms
from lighter.system import System

Transform = Callable[[Any], Any]
_POST = "system::adapters::predict::logging"


class Before(nn.Module):
    """A network behind the `input_transforms` of a `BatchAdapter`."""

    def __init__(self, network: nn.Module, transforms: Sequence[Transform], *, several: bool) -> None:
        super().__init__()
        self.network = network
        self.transforms, self.several = transforms, several

    def forward(self, *input: Any, **inputs: Any) -> Any:
        raw = inputs or (tuple(input) if self.several else input[0])
        value = apply_transforms(self.transforms, raw, "input_transforms")
        value = several_inputs(value) if self.several else value
        if isinstance(value, NamedInputs):
            return self.network(**value)
        return self.network(*value) if isinstance(value, PositionalInputs) else self.network(value)


class After(nn.Module):
    """A network with the `pred_transforms` of a `LoggingAdapter` behind it."""

    def __init__(self, network: nn.Module, transforms: Sequence[Transform]) -> None:
        super().__init__()
        self.network, self.transforms = network, transforms

    def forward(self, *input: Any, **inputs: Any) -> Any:
        return apply_transforms(self.transforms, self.network(*input, **inputs), "pred_transforms")


@dataclass
class RawInputs:
    """A `BatchAdapter` that remembers the input of its last batch as it was before its transforms."""

    adapter: BatchAdapter
    last: Any = None

    def __post_init__(self) -> None:
        self._bare = copy.copy(self.adapter)
        self._bare.transforms = {**self.adapter.transforms, "input": []}

    def __call__(self, batch: Any) -> Any:
        self.last = self._bare(batch)[0]
        return self.adapter(batch)


@dataclass
class Subject:
    """The module to export, and where its output takes the place of the network's.

    Attributes:
        program: gives what `network` does, of the inputs of `call`.
        after: what is done to its output besides.
    """

    network: Network
    program: nn.Module
    raw: RawInputs | None = None
    after: Sequence[Transform] = ()

    @property
    def final(self) -> nn.Module:
        """The program with what comes after it."""
        return After(self.program, self.after).eval() if self.after else self.program

    def call(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Call:
        """Return the inputs of the program, of a call of the network."""
        if self.raw is None:
            return Call.of(self.program, args, kwargs)
        last = self.raw.last
        if isinstance(last, NamedInputs):
            return Call((), dict(last))
        return Call(tuple(last) if isinstance(last, PositionalInputs) else (last,), {})

    def names(self, program: nn.Module) -> Names:
        """Name the modules of `program` or `final` as the run's module does."""
        depth = (self.raw is not None) + (program is not self.program)
        return Names(program, self.network.name, prefix="network." * depth)


def subject_of(evaluation: Evaluation, network: Network, *, preprocessing: bool, postprocessing: bool) -> Subject:
    """Put together what is asked for.

    Raises:
        ConfigError: there are no such transforms, or they do not belong to the network's own input and output.
    """
    subject = Subject(network, network.original)
    if not (preprocessing or postprocessing):
        return subject
    module, option = evaluation.module, "--with-preprocessing" if preprocessing else "--with-postprocessing"
    if not isinstance(module, System):
        raise _unfit(option, f"only a System has adapters, and this is a {type(module).__name__}")
    if network.called is not module.model:
        raise _unfit(option, f"the adapters are those of the whole model, and --module names `{network.name}`")
    if module.inferer is not None:
        raise _unfit(option, "the inferer is between the adapters and the model, and is not exported")
    if preprocessing:
        _add_before(subject, module, STAGES[evaluation.stage], option)
    if postprocessing:
        _add_after(subject, evaluation)
    return subject


def _add_before(subject: Subject, module: System, mode: str, option: str) -> None:
    path, adapter = f"system::adapters::{mode}::batch", module.adapters[mode]["batch"]
    if not isinstance(adapter, BatchAdapter):
        raise _unfit(option, f"`{path}` is a {type(adapter).__name__}, whose transforms are not known")
    transforms = adapter.transforms["input"]
    if not transforms:
        raise _unfit(option, f"`{path}` has no `input_transforms`")
    accessor = adapter.accessors["input"]
    subject.raw = RawInputs(adapter)
    module.adapters[mode]["batch"] = subject.raw
    several = isinstance(accessor, (list, tuple, Mapping))
    subject.program = Before(subject.network.original, transforms, several=several).eval()


def _add_after(subject: Subject, evaluation: Evaluation) -> None:
    option, objects = "--with-postprocessing", evaluation.objects
    adapter = objects.get(_POST) if objects.has(_POST) else None
    if not isinstance(adapter, LoggingAdapter) or not adapter.transforms["pred"]:
        raise _unfit(option, f"`{_POST}` has no `pred_transforms`")
    subject.after = adapter.transforms["pred"]


def _unfit(option: str, reason: str) -> ConfigError:
    return ConfigError([Problem(f"{option} cannot be: {reason}")])


@dataclass
class Recorder:
    """The calls of a network in an evaluation: the first whole, of all the shapes and the limits of integers.

    Attributes:
        forms: the different ways of calling it: the arguments as text, without what is in tensors.
        training: the parts that were in training mode.
    """

    subject: Subject
    call: Call | None = None
    shapes: list[tuple[Shape, ...]] = field(default_factory=list)
    limits: list[tuple[float, float] | None] = field(default_factory=list)
    forms: list[str] = field(default_factory=list)
    training: list[nn.Module] = field(default_factory=list)

    def hook(self, _: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        call = self.subject.call(args, kwargs)
        if self.call is None:
            self.call = call.copied()
            self.training = [part for part in self.subject.network.original.modules() if part.training]
        self.shapes.append(shapes(call))
        if call.form not in self.forms:
            self.forms.append(call.form)
        if len(self.forms) == 1:  # otherwise it is refused, when the user's evaluation is over
            seen = [_limits(value) for value in call.tensors]
            self.limits = [_joined(*pair) for pair in zip(self.limits or seen, seen, strict=True)]


@contextmanager
def recorded(subject: Subject) -> Iterator[Recorder]:
    """Record the calls of a network while this lasts."""
    recorder = Recorder(subject)
    handle = subject.network.called.register_forward_pre_hook(recorder.hook, with_kwargs=True)
    try:
        yield recorder
    finally:
        handle.remove()


def _limits(value: torch.Tensor) -> tuple[float, float] | None:
    if value.is_floating_point() or value.is_complex() or value.dtype == torch.bool or not value.numel():
        return None
    return int(value.min()), int(value.max())


def _joined(one: tuple[float, float] | None, other: tuple[float, float] | None) -> tuple[float, float] | None:
    if one is None or other is None:
        return one or other
    return min(one[0], other[0]), max(one[1], other[1])
