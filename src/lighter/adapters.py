"""Adapters between a `System` and parts that were not written for each other.

    batch -> BatchAdapter -> input, target, identifier
    pred, target, input -> CriterionAdapter -> criterion -> loss
    pred, target, input -> MetricsAdapter -> metrics
    input, target, pred -> LoggingAdapter -> what callbacks get

Several inputs go to the model's `forward` by position or by name: `input_accessor: [0, 1]`, `{image: 0, age: 2}`.

A transform is a callable or a list of them, applied in order. In a config, `_target_: torch.sigmoid` inside a
`*_transforms` key means that function, with the other keys bound as its keyword arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar

from lighter.errors import ModuleTypeError, ModuleValueError, add_note
from lighter.parts.describe import describe
from lighter.parts.model_inputs import several_inputs
from lighter.parts.transforms import Transforms, apply_transforms, transforms_of

Accessor = int | str | Callable[[Any], Any] | None
Accessors = Accessor | Sequence[Accessor] | Mapping[str, Accessor]
Argument = int | str | None
Arguments = Argument | Sequence[int | str] | Mapping[str | int, int | str]
# the arguments for which `_target_` in a config names a function to use, not to call
FUNCTIONS = ("input_transforms", "target_transforms", "pred_transforms")


class BatchAdapter:
    """Take input, target and identifier out of a batch.

    Args:
        input_accessor: where the input is: an index (of a list or tuple), a key (of a dict), a callable on the batch,
            or None for the whole batch. Several inputs: a list of these passes them to the model by position, a dict
            by the names of its keys.
        target_accessor: where the target is; None if there is none. A list makes a tuple of targets, a dict a dict.
        identifier_accessor: where the samples' identifiers are; None if there are none.
        input_transforms: applied to the input.
        target_transforms: applied to the target.
    """

    functions: ClassVar = FUNCTIONS

    def __init__(
        self,
        input_accessor: Accessors,
        target_accessor: Accessors = None,
        identifier_accessor: Accessor = None,
        input_transforms: Transforms = None,
        target_transforms: Transforms = None,
    ) -> None:
        self.accessors = {"input": input_accessor, "target": target_accessor, "identifier": identifier_accessor}
        for name, accessor in self.accessors.items():
            _check_accessor(f"{name}_accessor", accessor, several=name != "identifier")
        self.transforms = _transforms(input=input_transforms, target=target_transforms)
        self._by_argument = [(f"{name}_accessor", accessor) for name, accessor in self.accessors.items()]
        self._is_whole = input_accessor is None
        self._is_several = isinstance(input_accessor, (list, tuple, Mapping))
        if target_accessor is None and self.transforms["target"]:
            raise ModuleValueError("`target_transforms` is given, but there is no target: `target_accessor` is null")

    def __call__(self, batch: Any) -> tuple[Any, Any, Any]:
        """Return input, target and identifier of a batch.

        Raises:
            ModuleValueError: an accessor does not fit the batch; the message describes the batch.
        """
        input, target, identifier = [_taken(batch, accessor, name) for name, accessor in self._by_argument]
        if self._is_whole:  # of the others, None means that there is none
            input = batch
        input = _transformed(self.transforms, "input", input)
        if self._is_several:
            input = several_inputs(input)
        return input, _transformed(self.transforms, "target", target), identifier


def _transforms(**given: Transforms) -> dict[str, list[Callable[[Any], Any]]]:
    return {name: transforms_of(value, f"{name}_transforms") for name, value in given.items()}


def _transformed(transforms: Mapping[str, list[Callable[[Any], Any]]], name: str, value: Any) -> Any:
    return apply_transforms(transforms[name], value, f"{name}_transforms") if transforms[name] else value


def _entries(several: object) -> list[tuple[Any, Any]] | None:
    """Return the entries of a list, tuple or dict, by index or key; None of any other value."""
    if isinstance(several, Mapping):
        return list(several.items())
    return list(enumerate(several)) if isinstance(several, (list, tuple)) else None


def _check_accessor(name: str, accessor: object, *, several: bool) -> None:
    inner = _entries(accessor)
    if inner is not None and several:
        if not inner or not all(isinstance(key, (str, int)) for key, _ in inner):
            raise ModuleValueError(
                f"`{name}` names the values that it takes, `[0, 1]` or `{{image: 0, age: 2}}`; found {accessor!r}"
            )
        for key, item in inner:
            if item is None:
                raise ModuleTypeError(f"`{name}::{key}` is an index, a key or a callable on the batch; found None")
            _check_accessor(f"{name}::{key}", item, several=False)
        return
    if isinstance(accessor, bool) or not (accessor is None or isinstance(accessor, (int, str)) or callable(accessor)):
        forms = "an index, a key, a callable on the batch or null" + (", or a list or dict of these" if several else "")
        raise ModuleTypeError(f"`{name}` is {forms}; found {describe(accessor)}")


def _taken(batch: Any, accessor: Any, name: str) -> Any:
    if accessor is None:
        return None
    if type(accessor) is int and type(batch) in (list, tuple) and -len(batch) <= accessor < len(batch):
        return batch[accessor]  # as nearly always: the questions below take longer than the answer
    if isinstance(accessor, Mapping):
        return {key: _taken(batch, item, f"{name}::{key}") for key, item in accessor.items()}
    if isinstance(accessor, (list, tuple)):
        return tuple(_taken(batch, item, f"{name}::{index}") for index, item in enumerate(accessor))
    if callable(accessor):
        try:
            return accessor(batch)
        except Exception as error:
            add_note(error, f"`{name}` was called with the batch: {describe(batch)}")
            raise
    # checked by type: a tensor and a string can be indexed too, and would give a part of a sample
    fits = isinstance(batch, (list, tuple) if isinstance(accessor, int) else Mapping)
    with suppress(IndexError, KeyError):
        if fits:
            return batch[accessor]
    kind = "the index" if isinstance(accessor, int) else "the key"
    raise ModuleValueError(f"`{name}` is {kind} {accessor!r}, which does not fit the batch: it is {describe(batch)}")


class ArgumentsAdapter:
    """Call an object with pred, target and input as the arguments that it takes."""

    key = ""

    functions: ClassVar = FUNCTIONS

    def __init__(
        self,
        pred_argument: Arguments = None,
        target_argument: Arguments = None,
        input_argument: Arguments = None,
        pred_transforms: Transforms = None,
        target_transforms: Transforms = None,
        input_transforms: Transforms = None,
    ) -> None:
        self.arguments = {"pred": pred_argument, "target": target_argument, "input": input_argument}
        self.transforms = _transforms(pred=pred_transforms, target=target_transforms, input=input_transforms)
        passed = [each for name, argument in self.arguments.items() for each in _passed(name, argument)]
        self._refuse(passed)
        positional = [each for each in passed if isinstance(each.position, int)]
        self.positional = sorted(positional, key=lambda each: each.position)
        self.named = [each for each in passed if isinstance(each.position, str)]
        # whole values by position, as most adapters pass them: nothing is to be looked at in each step
        self._is_plain = not self.named and all(
            each.key is None and not self.transforms[each.name] for each in self.positional
        )

    def _refuse(self, passed: Sequence[_Passed]) -> None:
        for name, argument in self.arguments.items():
            if argument is None and self.transforms[name]:
                raise ModuleValueError(
                    f"`{name}_transforms` is given, but `{name}` is not passed: `{name}_argument` is null"
                )
        if not passed:
            raise ModuleValueError(
                f"this adapter passes nothing to the {self.key}: give it a `pred_argument`, for example 0"
            )
        positions = sorted(each.position for each in passed if isinstance(each.position, int))
        if positions != list(range(len(positions))):
            raise ModuleValueError(f"the positions of arguments are 0, 1, ... without a gap; found {positions}")
        names = [each.position for each in passed if isinstance(each.position, str)]
        if len(set(names)) != len(names):
            raise ModuleValueError(f"each argument has a keyword of its own; found {names}")

    def __call__(self, called: Callable[..., Any], input: Any, target: Any, pred: Any) -> Any:
        """Call `called`, and return what it returns.

        Raises:
            ModuleTypeError: it does not take these arguments, which the message describes.
            ModuleValueError: one of several values that are passed separately is missing.
        """
        values = {"input": input, "target": target, "pred": pred}
        args, kwargs = self._call_arguments(values)
        try:
            return called(*args, **kwargs)
        except (TypeError, ValueError, RuntimeError) as error:
            shown = [f"{each.label}: {describe(value)}" for each, value in zip(self.positional, args, strict=True)]
            shown += [f"{each.position}={each.label}: {describe(kwargs[str(each.position)])}" for each in self.named]
            was = "were" if self.key == "metrics" else "was"
            add_note(error, f"the {self.key} {was} called with ({', '.join(shown)})")
            raise

    def _call_arguments(self, values: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """Return the arguments of a call, by position and by name."""
        if self._is_plain:
            return [values[each.name] for each in self.positional], {}
        self._transform(values)
        args = [each.of(values[each.name]) for each in self.positional]
        return args, {str(each.position): each.of(values[each.name]) for each in self.named}

    def _transform(self, values: dict[str, Any]) -> None:
        for name in dict.fromkeys(each.name for each in (*self.positional, *self.named)):
            values[name] = _transformed(self.transforms, name, values[name])
            argument = self.arguments[name]
            # a value too many would be lost silently
            if isinstance(argument, (list, tuple)) and not (
                isinstance(values[name], (list, tuple)) and len(values[name]) == len(argument)
            ):
                raise ModuleValueError(
                    f"`{name}_argument` has {len(argument)} places, for a list or tuple of as many; {name} is "
                    f"{describe(values[name])}"
                )


@dataclass(frozen=True)
class _Passed:
    """One argument of a call."""

    name: str  # the value that it is from: pred, target or input
    key: int | str | None  # in that value, if it is one of several in it
    position: Any  # or the name of the keyword

    @property
    def label(self) -> str:
        return self.name if self.key is None else f"{self.name}[{self.key}]"

    def of(self, value: object) -> Any:
        if self.key is None:
            return value
        values = dict(enumerate(value)) if isinstance(value, (list, tuple)) else value
        if isinstance(values, Mapping) and self.key in values:
            return values[self.key]
        raise ModuleValueError(
            f"`{self.name}_argument::{self.key}` passes one of several values; {self.name} is {describe(value)}"
        )


def _passed(name: str, argument: object) -> list[_Passed]:
    if argument is None:
        return []
    several = _entries(argument)
    if several is None:
        several = [(None, argument)]
    if not several or any(isinstance(item, bool) or not isinstance(item, (int, str)) for _, item in several):
        raise ModuleTypeError(
            f"`{name}_argument` is a position, the name of a keyword, or null, or a list or dict of positions and"
            f" keywords; found {describe(argument)}"
        )
    return [_Passed(name, key, position) for key, position in several]


class CriterionAdapter(ArgumentsAdapter):
    """Call the criterion.

    Args:
        pred_argument: where the prediction goes: a position, a keyword, or None if it is not passed. A list or dict of
            these passes the values of a tuple, list or dict separately: `{start: 0, end: end_logits}`.
        target_argument: where the target goes, likewise.
        input_argument: where the input goes, likewise.
        pred_transforms: applied to the prediction before: a function or a list of them.
        target_transforms: applied to the target before.
        input_transforms: applied to the input before.
    """

    key = "criterion"


class MetricsAdapter(ArgumentsAdapter):
    """Call the metrics; the arguments are those of `CriterionAdapter`."""

    key = "metrics"


class LoggingAdapter:
    """Change input, target and prediction before callbacks get them.

    Args:
        input_transforms: applied to the input: a function or a list of them.
        target_transforms: applied to the target.
        pred_transforms: applied to the prediction.
    """

    functions: ClassVar = FUNCTIONS

    def __init__(
        self,
        input_transforms: Transforms = None,
        target_transforms: Transforms = None,
        pred_transforms: Transforms = None,
    ) -> None:
        self.transforms = _transforms(input=input_transforms, target=target_transforms, pred=pred_transforms)

    def __call__(self, input: Any, target: Any, pred: Any) -> tuple[Any, Any, Any]:
        """Return the changed input, target and prediction."""
        input = _transformed(self.transforms, "input", input)
        target = _transformed(self.transforms, "target", target)
        return input, target, _transformed(self.transforms, "pred", pred)
