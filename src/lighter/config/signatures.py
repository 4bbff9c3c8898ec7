"""The arguments that a target takes, and how far its signature can be believed.

A signature is exact where Python calls what it describes. Behind a decorator of somebody's it is what the decorated
function takes, and the decorator may take more or hand over some itself: then only a near miss is a mistake.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from inspect import Parameter
from typing import Any

from lighter.config.annotations import as_written, choices, fits, shown
from lighter.config.passed_on import owners_of, with_passed_on
from lighter.config.problems import close_to, closest, nearest

KNOWN = frozenset(sys.stdlib_module_names) | {
    *("torch", "torchmetrics", "pytorch_lightning", "lightning", "lightning_fabric", "lightning_utilities", "lighter"),
    *("sklearn", "numpy", "monai"),
}
_WORDS = {  # that people and other tools use for Lightning's `precision`
    "16-mixed": "fp16 float16 f16 half amp apex mixed mixed16 mixed_float16 mixed-16 16bit 16-bit fp16-mixed",
    "bf16-mixed": "bfloat16 bfloat bfp16 brain mixed_bfloat16 bfloat16-mixed bfloat16_mixed mixed-bf16 bf16-amp",
    "32-true": "fp32 float32 f32 float single full tf32 no none 32bit 32-bit fp32-true float32-true",
    "64-true": "fp64 float64 f64 double 64bit 64-bit fp64-true double-true",
    "16-true": "fp16-true fp16_true float16-true half-true",
    "bf16-true": "bfloat16-true bfloat16_true",
    "transformer-engine": "fp8 float8",
}
PRECISIONS = {word: meant for meant, words in _WORDS.items() for word in words.split()}
BY_POSITION = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
BY_NAME = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)


@dataclass(frozen=True)
class Misfit:
    """The reason why a target refuses a call.

    `argument` is a name or a position; None for the whole call. `is_value` says that its value is wrong, rather than
    that it is given.
    """

    argument: str | int | None
    message: str
    hint: str = ""
    is_value: bool = False


@dataclass(frozen=True)
class Call:
    """The arguments that a definition hands over.

    Attributes:
        positional: the values of `_args_`; None where they are not known.
        is_partial: whether the rest is handed over later.
        filled: names that somebody else hands over if the definition does not.
    """

    positional: Sequence[Any] | None
    named: Mapping[str, Any]
    is_partial: bool = False
    filled: Collection[str] = ()


@dataclass(frozen=True)
class Signature:
    """The parameters of a target, their annotations worked out.

    It is exact if no decorator can change them, and strict if `**kwargs` are known to be few.
    """

    parameters: Mapping[str, Parameter]
    is_exact: bool
    is_strict: bool = False

    def misfits(self, call: Call) -> Iterator[Misfit]:
        """Yield everything about a call that the target will refuse."""
        by_position = [item for item in self.parameters.values() if item.kind in BY_POSITION]
        positioned = {item.name for item in by_position[: len(call.positional or ())]}
        yield from self._unknown(call)
        if not self.is_exact:
            return
        if call.positional is not None:
            yield from self._misplaced(call, by_position, positioned)
            yield from self._missing(call, positioned)
        yield from self._wrong_values(call, by_position)

    def _wrong_values(self, call: Call, by_position: Sequence[Parameter]) -> Iterator[Misfit]:
        names = self._names()
        places: list[tuple[str | int, Parameter, Any]] = [
            (index, item, value)
            for index, (item, value) in enumerate(zip(by_position, call.positional or (), strict=False))
        ]
        places += [(key, self.parameters[key], value) for key, value in call.named.items() if key in names]
        for argument, item, value in places:
            wrong = wrong_value(item, value)
            if wrong is not None:
                yield Misfit(argument, *wrong, is_value=True)

    def _names(self) -> list[str]:
        return [item.name for item in self.parameters.values() if item.kind in BY_NAME]

    def _has(self, kind: Any) -> bool:
        return any(item.kind is kind for item in self.parameters.values())

    def _unknown(self, call: Call) -> Iterator[Misfit]:
        names = self._names()
        passes_on, free = self._has(Parameter.VAR_KEYWORD), [name for name in names if name not in call.named]
        for key in (key for key in call.named if key not in names):
            # What gets `**kwargs` may take anything, or just a few names that are known.
            if passes_on:
                close = close_to(key, names, cutoff=0.8) if self.is_strict else None
                if close:
                    yield Misfit(key, f"there is no argument `{key}`", f"Did you mean `{close}`?")
            elif not self.is_exact and not close_to(key, free):
                continue
            elif key in self.parameters:
                yield Misfit(key, f"`{key}` is taken by position only", "Write it in `_args_`.")
            else:
                hint = nearest(key, names) or "It takes none by name."
                yield Misfit(key, f"there is no argument `{key}`", hint)

    def _misplaced(self, call: Call, by_position: Sequence[Parameter], positioned: Collection[str]) -> Iterator[Misfit]:
        positional = call.positional or ()
        if len(positional) > len(by_position) and not self._has(Parameter.VAR_POSITIONAL):
            items = f"{len(positional)} item{'s' * (len(positional) != 1)}"
            most = f"at most {len(by_position)}" if by_position else "none"
            yield Misfit(len(by_position), f"`_args_` has {items}; by position it takes {most}")
        for key in call.named:
            if key in positioned and self.parameters[key].kind is not Parameter.POSITIONAL_ONLY:
                yield Misfit(key, f"`{key}` is given twice: `_args_` has it too")

    def _missing(self, call: Call, positioned: Collection[str]) -> Iterator[Misfit]:
        names = self._names()
        # One complaint for a misspelt argument, not a second one that the right one is missing.
        misspelt = {close_to(key, names) for key in call.named if key not in names}
        absent = [
            item.name
            for item in self.parameters.values()
            if item.kind in (*BY_POSITION, Parameter.KEYWORD_ONLY)
            and item.default is Parameter.empty
            and item.name not in positioned
            and item.name not in call.named
            and item.name not in {*call.filled, *misspelt}
        ]
        if absent and not call.is_partial:
            listed = ", ".join(f"`{name}`" for name in absent)
            said = f"arguments {listed} are" if len(absent) > 1 else f"argument {listed} is"
            yield Misfit(None, f"the {said} missing")


def parameters_of(target: Any) -> Mapping[str, Parameter] | None:
    try:
        return inspect.signature(target).parameters
    except (TypeError, ValueError, RecursionError):
        return None


def signature_of(target: Any) -> Signature | None:
    """Return what a target takes; None where Python cannot tell."""
    given_parameters = parameters_of(target)
    if given_parameters is None:
        return None
    functions = list(_functions(target))
    wrappers = [wrapper for function in functions for wrapper in _wrappers(function)]
    # A wrapper of somebody's may take arguments of its own by name.
    extra = {
        name: item
        for wrapper in wrappers
        if inspect.isfunction(wrapper) and not _is_known(wrapper)
        for name, item in inspect.signature(wrapper, follow_wrapped=False).parameters.items()
        if item.kind in BY_NAME
    }
    scopes = [getattr(inspect.unwrap(function), "__globals__", {}) for function in functions]
    parameters, bases = _with_passed_on(target, given_parameters)
    scopes = [*(vars(sys.modules[each.__module__]) for each in reversed(bases)), *scopes]
    # Annotations that are text are worked out where their function was written.
    has_text = any(isinstance(item.annotation, str) for item in parameters.values())
    scope = {name: value for each in scopes for name, value in each.items()} if has_text else {}
    resolved = {name: _resolved(item, scope) for name, item in parameters.items()}
    has_own = "__signature__" in getattr(target, "__dict__", {})
    # `singledispatch` has a signature for each type.
    is_decorated = any(hasattr(each, "registry") or not _is_known(each) for each in wrappers)
    is_exact = not has_own and not extra and not is_decorated
    # torchmetrics passes `**kwargs` on to `Metric`, which takes a handful.
    is_strict = str(getattr(target, "__module__", "")).startswith("torchmetrics.")
    return Signature({**extra, **resolved}, is_exact, is_strict)


def _functions(target: Any) -> Iterator[Any]:
    if isinstance(target, functools.partial):
        yield from _functions(target.func)
    elif isinstance(target, type):
        # in the order in which Python calls them
        for owner, name in ((type(target), "__call__"), (target, "__new__"), (target, "__init__")):
            function = inspect.getattr_static(owner, name, None)
            function = getattr(function, "__func__", function)
            if inspect.isfunction(function) or hasattr(function, "__wrapped__"):
                yield function
    else:
        yield getattr(target, "__func__", target)


def _wrappers(function: Any) -> Iterator[Any]:
    while hasattr(function, "__wrapped__"):
        yield function
        function = function.__wrapped__


def _is_known(function: Any) -> bool:
    # Wrappers of these packages take what the wrapped function takes; those of others may take anything.
    module = getattr(function, "__globals__", {}).get("__name__") or type(function).__module__
    return str(module).partition(".")[0] in KNOWN


def _with_passed_on(target: Any, parameters: Mapping[str, Parameter]) -> tuple[Mapping[str, Parameter], list[type]]:
    """Return the parameters of a target, those of Lighter's constructor among them, and the classes that have them."""
    # Lighter's own classes pass `**kwargs` on to one another, so that what they take altogether is known.
    has_more = any(item.kind is Parameter.VAR_KEYWORD for item in parameters.values())
    if not has_more or not isinstance(target, type) or "__new__" in vars(target):
        return parameters, []
    passed_on = with_passed_on(target)
    return (passed_on, owners_of(target)) if passed_on is not None else (parameters, [])


def _resolved(item: Parameter, scope: Mapping[str, Any]) -> Parameter:
    if not isinstance(item.annotation, str):
        return item
    try:
        # `typing.get_type_hints` evaluates them so too, and fails for all if one name is missing.
        annotation = eval(item.annotation, dict(scope))
        return item.replace(annotation=eval(annotation, dict(scope)) if isinstance(annotation, str) else annotation)
    except Exception:  # noqa: BLE001  names that only a type checker has, or anything that they do
        return item.replace(annotation=Parameter.empty)


def wrong_value(item: Parameter, value: Any) -> tuple[str, str] | None:
    """Return message and hint, if a plain value does not fit a parameter whose annotation can be believed."""
    annotation = item.annotation
    if fits(value, annotation) or item.kind in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD):
        return None
    # If its own default does not fit the annotation, that is not to be believed.
    default = item.default
    if default is None and value is None:
        return None
    if default is not None and default is not Parameter.empty:
        plain = list(default) if isinstance(default, (tuple, set, frozenset)) else default
        if not fits(default, annotation) and not fits(plain, annotation):
            return None
    options = [*choices(annotation)]
    meant = PRECISIONS.get(str(value).lower()) if item.name == "precision" else None
    hint = f"Did you mean `{meant}`?" if meant in options else ""
    if not hint and options and isinstance(value, (str, int)):
        hint = closest(value, options)
    return f"`{item.name}` is {shown(annotation)}; found {as_written(value)}", hint
