"""Adapters: how a `System` hands a batch, a prediction and a target to parts that were not written for each other.

    batch -> BatchAdapter -> input, target, identifier
    pred, target, input -> CriterionAdapter -> criterion -> loss
    pred, target, input -> MetricsAdapter -> metrics
    input, target, pred -> LoggingAdapter -> what callbacks get

A transform is a callable or a list of them, applied in order. In a config, `_target_: torch.sigmoid` inside a
`*_transforms` key means that function, with the other keys bound as its keyword arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar

from lighter.errors import ModuleTypeError, ModuleValueError, add_note
from lighter.parts.describe import describe

Accessor = int | str | Callable[[Any], Any] | None
Argument = int | str | None
FUNCTIONS = ("input_transforms", "target_transforms", "pred_transforms")
"""The arguments of adapters for which `_target_` in a config names a function to use, not to call."""

Transforms = Callable[[Any], Any] | Sequence[Callable[[Any], Any]] | None


class BatchAdapter:
    """Takes input, target and identifier out of a batch.

    Args:
        input_accessor: where the input is: an index (of a list or tuple), a key (of a dict), a callable on the batch,
            or None for the whole batch.
        target_accessor: where the target is; None if there is none.
        identifier_accessor: where the samples' identifiers are; None if there are none.
        input_transforms: applied to the input.
        target_transforms: applied to the target.
    """

    functions: ClassVar = FUNCTIONS

    def __init__(
        self,
        input_accessor: Accessor,
        target_accessor: Accessor = None,
        identifier_accessor: Accessor = None,
        input_transforms: Transforms = None,
        target_transforms: Transforms = None,
    ) -> None:
        self.accessors = {"input": input_accessor, "target": target_accessor, "identifier": identifier_accessor}
        for name, accessor in self.accessors.items():
            if isinstance(accessor, bool) or not (
                accessor is None or isinstance(accessor, (int, str)) or callable(accessor)
            ):
                raise ModuleTypeError(
                    f"`{name}_accessor` is an index, a key, a callable on the batch or null; found {describe(accessor)}"
                )
        self.transforms = {
            "input": transforms_of(input_transforms, "input_transforms"),
            "target": transforms_of(target_transforms, "target_transforms"),
        }
        if target_accessor is None and self.transforms["target"]:
            raise ModuleValueError("`target_transforms` is given, but there is no target: `target_accessor` is null")

    def __call__(self, batch: Any) -> tuple[Any, Any, Any]:
        """Input, target and identifier of a batch.

        Raises:
            ModuleValueError: an accessor does not fit the batch; the message says what the batch was.
        """
        accessors = self.accessors
        input = batch if accessors["input"] is None else self._get(batch, "input")
        target, identifier = self._get(batch, "target"), self._get(batch, "identifier")
        return (
            apply(self.transforms["input"], input, "input_transforms"),
            apply(self.transforms["target"], target, "target_transforms"),
            identifier,
        )

    def _get(self, batch: Any, name: str) -> Any:
        accessor = self.accessors[name]
        if accessor is None:
            return None
        if callable(accessor):
            try:
                return accessor(batch)
            except Exception as error:
                add_note(error, f"`{name}_accessor` was called with the batch: {describe(batch)}")
                raise
        fits = isinstance(batch, (list, tuple) if isinstance(accessor, int) else Mapping)
        with suppress(IndexError, KeyError):
            if fits:
                return batch[accessor]
        kind = "the index" if isinstance(accessor, int) else "the key"
        raise ModuleValueError(
            f"`{name}_accessor` is {kind} {accessor!r}, which does not fit the batch: it is {describe(batch)}"
        )


class ArgumentsAdapter:
    """Calls something with pred, target and input in the places that it wants them."""

    key = ""

    functions: ClassVar = FUNCTIONS

    def __init__(
        self,
        pred_argument: Argument = None,
        target_argument: Argument = None,
        input_argument: Argument = None,
        pred_transforms: Transforms = None,
        target_transforms: Transforms = None,
        input_transforms: Transforms = None,
    ) -> None:
        self.arguments = {"pred": pred_argument, "target": target_argument, "input": input_argument}
        given = {"pred": pred_transforms, "target": target_transforms, "input": input_transforms}
        self.transforms = {name: transforms_of(value, f"{name}_transforms") for name, value in given.items()}
        self._check()
        by_position = [name for name, place in self.arguments.items() if isinstance(place, int)]
        self.positional = sorted(by_position, key=lambda name: self.arguments[name])  # type: ignore[arg-type, return-value]
        self.keywords = {name: place for name, place in self.arguments.items() if isinstance(place, str)}

    def _check(self) -> None:
        for name, place in self.arguments.items():
            if isinstance(place, bool) or not (place is None or isinstance(place, (int, str))):
                raise ModuleTypeError(
                    f"`{name}_argument` is a position, the name of a keyword, or null; found {describe(place)}"
                )
            if place is None and self.transforms[name]:
                raise ModuleValueError(
                    f"`{name}_transforms` is given, but `{name}` is not passed: `{name}_argument` is null"
                )
        if all(place is None for place in self.arguments.values()):
            raise ModuleValueError(
                f"this adapter passes nothing to the {self.key}: give it a `pred_argument`, for example 0"
            )
        positions = sorted(place for place in self.arguments.values() if isinstance(place, int))
        if positions != list(range(len(positions))):
            raise ModuleValueError(f"the positions of arguments are 0, 1, ... without a gap; found {positions}")
        names = [place for place in self.arguments.values() if isinstance(place, str)]
        if len(set(names)) != len(names):
            raise ModuleValueError(f"each argument has a keyword of its own; found {names}")

    def __call__(self, called: Callable[..., Any], input: Any, target: Any, pred: Any) -> Any:
        """What `called` returns.

        Raises:
            ModuleTypeError: it does not take these arguments; the message says what they were.
        """
        values = {"input": input, "target": target, "pred": pred}
        for name in (*self.positional, *self.keywords):
            values[name] = apply(self.transforms[name], values[name], f"{name}_transforms")
        args = [values[name] for name in self.positional]
        kwargs = {place: values[name] for name, place in self.keywords.items()}
        try:
            return called(*args, **kwargs)
        except (TypeError, ValueError, RuntimeError) as error:
            shown = [f"{name}: {describe(values[name])}" for name in self.positional]
            shown += [f"{place}={name}: {describe(values[name])}" for name, place in self.keywords.items()]
            add_note(
                error, f"the {self.key} {'were' if self.key == 'metrics' else 'was'} called with ({', '.join(shown)})"
            )
            raise


class CriterionAdapter(ArgumentsAdapter):
    """Calls the criterion.

    Args:
        pred_argument: where the prediction goes: a position, a keyword, or None if it is not passed.
        target_argument: the same for the target.
        input_argument: the same for the input.
        pred_transforms: applied to the prediction before.
        target_transforms: applied to the target before.
        input_transforms: applied to the input before.
    """

    key = "criterion"


class MetricsAdapter(ArgumentsAdapter):
    """Calls the metrics; the arguments are those of `CriterionAdapter`."""

    key = "metrics"


class LoggingAdapter:
    """Changes input, target and prediction before callbacks get them.

    Args:
        input_transforms: applied to the input.
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
        self.input_transforms = transforms_of(input_transforms, "input_transforms")
        self.target_transforms = transforms_of(target_transforms, "target_transforms")
        self.pred_transforms = transforms_of(pred_transforms, "pred_transforms")

    def __call__(self, input: Any, target: Any, pred: Any) -> tuple[Any, Any, Any]:
        """Input, target and prediction, changed."""
        return (
            apply(self.input_transforms, input, "input_transforms"),
            apply(self.target_transforms, target, "target_transforms"),
            apply(self.pred_transforms, pred, "pred_transforms"),
        )


def transforms_of(given: Transforms, name: str) -> list[Callable[[Any], Any]]:
    """Transforms as a list.

    Raises:
        ModuleTypeError: one of them cannot be called.
    """
    listed: list[Any] = list(given) if isinstance(given, (list, tuple)) else [] if given is None else [given]
    for transform in listed:
        if not callable(transform):
            raise ModuleTypeError(f"`{name}` takes a callable or a list of them; found {describe(transform)}")
    return listed


def apply(transforms: Sequence[Callable[[Any], Any]], value: Any, name: str) -> Any:
    """A value after its transforms; an error in one of them says which, and what it got."""
    for transform in transforms:
        try:
            value = transform(value)
        except Exception as error:
            shown = getattr(transform, "__name__", None) or repr(transform)
            add_note(error, f"while `{name}` applied {shown} to {describe(value)}")
            raise
    return value
