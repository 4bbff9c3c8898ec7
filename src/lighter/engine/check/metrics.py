"""The metrics that a config gives to its module: the names that they are logged by, and what is no metric.

Metrics of torchmetrics whose arguments are all written are made on the meta device, where they have no size, and asked
for the value of no data: its shape and its names. What is made is thrown away.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import UnionType
from typing import Any, NamedTuple, Union, get_args, get_origin, get_type_hints

import torch
from torchmetrics import Metric, MetricCollection

from lighter.config.annotations import UNKNOWN
from lighter.config.check.calls import plain
from lighter.config.inherit import is_by_mode
from lighter.config.problems import indefinite
from lighter.config.tree import SPECIAL, Node, is_reference, is_target, join
from lighter.engine.check.constructors import is_known
from lighter.engine.check.context import Context, is_disabled, is_ours
from lighter.engine.check.returned import returns_no_dict
from lighter.engine.trial import without_advice
from lighter.errors import MisfitError
from lighter.forward import ForwardModule
from lighter.parts.metrics.foreign import EXPECTED, has_methods
from lighter.parts.metrics.values import Values, sort_values

_MODES_OF = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",), "predict": ()}
# They compute one number, unless they are asked for more.
_OF_ONE_NUMBER = ("torchmetrics.classification.", "torchmetrics.regression.")
_MADE = (*_OF_ONE_NUMBER, "torchmetrics.wrappers.", "torchmetrics.collections")
_EXAMPLE = "accuracy: {_target_: torchmetrics.classification.MulticlassAccuracy, num_classes: 10}"
_SPLITS = ("train", "val", "test")
_EVALUATION = ("metric_step", "forward_step", "compute_evaluator", "on_metric_epoch_end")


class Names(NamedTuple):
    """Names by which values are logged: those that are certain, and all that there may be, or None for any.

    Of the possible ones, one that ends in `/` or `_` stands for all that begin so.
    """

    certain: tuple[str, ...]
    possible: tuple[str, ...] | None

    def may_have(self, name: str) -> bool:
        return self.possible is None or any(
            name == each or (each.endswith(("/", "_")) and name.startswith(each)) for each in self.possible
        )


@dataclass(frozen=True)
class WrittenMetric:
    """A metric in the config, with its class and the metric itself on the meta device, as far as they can be had.

    Its `key` is empty in a list or alone. It is apart if it is in no collection, so that all of its values begin with
    its key and `/`.
    """

    path: str
    key: str
    kind: type | None
    made: Metric | MetricCollection | None = None
    is_apart: bool = False

    @property
    def higher_is_better(self) -> bool | None:
        """The better direction, if the metric has one."""
        better = getattr(self.made if self.made is not None else self.kind, "higher_is_better", None)
        return better if isinstance(better, bool) else None

    def names(self) -> Names:
        computed = self.computed()
        values = self._sorted(computed)
        is_factory = self.made is None and self.kind is not None and "__new__" in vars(self.kind)
        if isinstance(computed, Mapping):
            inner = tuple(values.numbers if values is not None else map(str, computed))
            prefixed = tuple(f"{self.key}{'/' if self.is_apart else '_'}{name}" for name in inner)
            return Names((), inner * (not self.is_apart) + prefixed) if self.key else Names(inner, inner)
        if values is not None and (self.key or not is_factory):
            return Names(tuple(values.numbers), tuple(values.numbers))
        kind = type(self.made) if self.made is not None else self.kind
        if kind is None or not _has_one_name(kind) or (is_factory and not self.key):
            return Names((), (self.key, f"{self.key}/") if self.is_apart and self.key else None)
        name = self.key or kind.__name__
        # A vector is logged number by number, by `name_...`.
        return Names((), ()) if _always_several(kind) else Names((name,), (name, f"{name}_"))

    def array_names(self) -> list[str]:
        """Return the names of its values that are known to be no single numbers."""
        values = self._sorted(self.computed())
        several = [self.key or self.kind.__name__] if self.kind is not None and _always_several(self.kind) else []
        return [*values.arrays, *several] if values is not None else several

    def computed(self) -> Any:
        # Without an update it is the value of no data, which has the shape and the names of any other.
        if self.made is None:
            return None
        try:
            with without_advice(), torch.device("meta"):
                return self.made.compute()
        except Exception:  # noqa: BLE001  many metrics need samples
            return None

    def _sorted(self, computed: Any) -> Values | None:
        # A value that is neither a number nor an array has no name that could be told.
        try:
            return None if computed is None else sort_values(self.key or type(self.made).__name__, computed)
        except MisfitError:
            return None


def metrics_of(context: Context, mode: str) -> list[WrittenMetric] | None:
    """Return the metrics that the config gives for a mode; None where it is not known which they are."""
    kind = context.kind(context.section)
    if kind is None or not is_ours(kind):
        return None
    if issubclass(kind, ForwardModule):
        return _evaluators_of(context, kind, mode)
    argument = _metrics_argument(context, mode)
    if argument is None:
        return []
    path, node = argument
    if is_target(node.value):
        return [_written(context, path, "")]
    if is_reference(node.value) or not isinstance(node.value, (dict, list)):
        return None
    return [_written(context, join(path, step), step if isinstance(node.value, dict) else "") for step in node.steps()]


def _metrics_argument(context: Context, mode: str) -> tuple[str, Node] | None:
    if context.section == "system":
        return context.argument("system", "metrics", mode)
    return context.argument(context.section, f"{mode}_metrics")


def _evaluators_of(context: Context, kind: type[ForwardModule], mode: str) -> list[WrittenMetric] | None:
    argument = context.argument(context.section, "evaluator_cfg")
    if argument is None or any(getattr(kind, name) is not getattr(ForwardModule, name) for name in _EVALUATION):
        return None
    paths = _evaluator_paths(context, *argument)[mode]
    if not paths:  # a class of the user's may make them
        return None
    kinds = [context.kind(path) for path in paths.values()]
    others = [each for each in kinds if each is not None and not is_factory(each)]
    is_apart = not all(issubclass(each, (Metric, MetricCollection)) for each in others)
    return [replace(_written(context, path, key), is_apart=is_apart) for key, path in paths.items()]


def _evaluator_paths(context: Context, path: str, node: Node) -> dict[str, dict[str, str]]:
    """Return the paths of evaluators by split and name, an empty name for one alone; none where they cannot be told."""
    if not is_by_mode(node.value, _SPLITS):
        return dict.fromkeys(_SPLITS, _changed_paths(context, path, node, {}))
    entries: dict[str, dict[str, str]] = {}
    before: dict[str, str] = {}
    for split in _SPLITS:
        argument = context.argument(path, split)
        if argument is not None:
            before = _changed_paths(context, *argument, before)
        elif split in node.value:  # null
            before = {}
        entries[split] = before
    return entries


def _changed_paths(context: Context, path: str, node: Node, before: Mapping[str, str]) -> dict[str, str]:
    # As `inherit.by_mode` does it with the values, once they are built.
    if is_target(node.value):
        return {"": path}
    # A split that changes the only evaluator of the one before gives it arguments.
    if not isinstance(node.value, dict) or "" in before:
        return dict(before) if isinstance(node.value, dict) else {}
    written = {step: context.argument(path, step) for step in node.steps()}
    defined = {key: each[0] for key, each in written.items() if each is not None and is_target(each[1].value)}
    return {key: each for key, each in {**before, **defined}.items() if written.get(key, ()) is not None}


def check_metrics(context: Context) -> None:
    """Add a problem for each metric or evaluator that the module will not take."""
    kind = context.module
    # A constructor of the user's may do anything with what it is given.
    if kind is None or not is_ours(kind):
        return
    for mode in _MODES_OF[context.stage]:
        argument = _metrics_argument(context, mode)
        for path in _members(*argument) if argument is not None else ():
            _check_metric(context, path, "a metric")
    argument = context.argument(context.section, "evaluator_cfg")
    if argument is None or not issubclass(kind, ForwardModule):
        return
    if kind.update_evaluator is ForwardModule.update_evaluator:
        # Other splits may change it: then these are arguments.
        first = context.argument(argument[0], "train") or argument
        for path in _definitions(context, *first):
            _check_metric(context, path, "an evaluator")


def _members(path: str, node: Node) -> Iterator[str]:
    if is_target(node.value) or not isinstance(node.value, (dict, list)):
        yield path
    else:
        yield from (join(path, step) for step in node.steps())


def _definitions(context: Context, path: str, node: Node) -> Iterator[str]:
    if is_target(node.value):
        yield path
    elif isinstance(node.value, (dict, list)):
        for step in node.steps():
            argument = context.argument(path, step)
            if argument is not None:
                yield from _definitions(context, *argument)


def _check_metric(context: Context, path: str, called: str) -> None:
    followed = context.followed(path)
    node = context.tree.find(followed)
    if node is None or is_reference(node.value) or is_disabled(node):
        return
    kind = context.kind(followed)
    if not is_target(node.value):
        context.problem(f"{called} is an object; found {indefinite(node.value)}", path, _EXAMPLE)
        return
    if kind is None or "_mode_" in node.value or has_methods(kind) or is_factory(kind):
        return
    if not issubclass(kind, MetricCollection):
        context.problem(f"{called} has the methods {EXPECTED}; found a {kind.__name__}", path, _EXAMPLE)


def is_factory(kind: type) -> bool:
    """Return whether calling a class may give an object of another."""
    return any("__new__" in vars(each) for each in kind.__mro__[:-1])


def _has_one_name(kind: type) -> bool:
    # These compute one value, and no dict of them.
    return kind.__module__.startswith(_OF_ONE_NUMBER) or returns_no_dict(getattr(kind, "compute", None))


def _always_several(kind: type | None) -> bool:
    # Curves say by their annotation that they compute a tuple.
    if kind is None or not kind.__module__.startswith(_MADE):
        return False
    try:
        annotation = get_type_hints(kind.compute).get("return")  # type: ignore[attr-defined]
    except Exception:  # noqa: BLE001  names that only a type checker has
        return False
    options = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    return all(get_origin(option) in (tuple, list) for option in options)


def _written(context: Context, path: str, key: str) -> WrittenMetric:
    followed = context.followed(path)
    kind = context.kind(followed)
    return WrittenMetric(followed, key, kind, _made(context, followed) if kind is not None else None)


def _made(context: Context, path: str) -> Any:
    kind, node = context.kind(path), context.node(path)
    # `_args_` would need the signature to be named, and `_mode_` makes no metric.
    if kind is None or not kind.__module__.startswith(_MADE) or {"_args_", "_mode_"} & set(node.value):
        return None
    if not context.constructs:
        return None
    arguments = {str(key): _value(context, join(path, key)) for key in node.value if key not in SPECIAL}
    if not all(map(is_known, arguments.values())):
        return None
    try:
        with without_advice(), torch.device("meta"):
            return kind(**arguments)
    except Exception:  # noqa: BLE001  `check_constructors` tells
        return None


def _value(context: Context, path: str) -> Any:
    node = context.tree.find(context.followed(path))
    if node is None:
        return UNKNOWN
    if is_target(node.value):
        made = _made(context, context.followed(path))
        return UNKNOWN if made is None else made
    if isinstance(node.value, dict):
        return {key: _value(context, join(path, key)) for key in node.value}
    if isinstance(node.value, list):
        return [_value(context, join(path, step)) for step in node.steps()]
    return plain(node)
