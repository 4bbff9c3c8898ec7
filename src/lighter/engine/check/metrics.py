"""The metrics that a config gives to its module: what they are called when they are logged, and what is none.

Metrics of torchmetrics whose arguments are all written are made on the meta device, where they have no size, and asked
for the value of no data: its shape and its names. What is made is thrown away.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import UnionType
from typing import TYPE_CHECKING, Any, NamedTuple, Union, get_args, get_origin, get_type_hints

from lighter.config.annotations import UNKNOWN
from lighter.config.check.calls import plain
from lighter.config.inherit import is_by_mode
from lighter.config.problems import indefinite
from lighter.config.tree import SPECIAL, Node, disabled, is_reference, is_target, join
from lighter.engine.check.constructors import is_known
from lighter.engine.check.found import Found
from lighter.engine.check.missing import is_ours
from lighter.engine.check.returned import returns_no_dict

if TYPE_CHECKING:
    from lighter.parts.metrics.values import Values

_MODES_OF = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",), "predict": ()}
_OF_ONE_NUMBER = ("torchmetrics.classification.", "torchmetrics.regression.")  # unless they are asked for more
_MADE = (*_OF_ONE_NUMBER, "torchmetrics.wrappers.", "torchmetrics.collections")
_EXAMPLE = "accuracy: {_target_: torchmetrics.classification.MulticlassAccuracy, num_classes: 10}"
_SPLITS = ("train", "val", "test")


class Names(NamedTuple):
    """Names by which something is logged.

    Attributes:
        certain: those that are known.
        possible: all that there may be; one that ends in `/` or `_` stands for all that begin so. None: any.
    """

    certain: tuple[str, ...]
    possible: tuple[str, ...] | None

    def may_have(self, name: str) -> bool:
        """Return whether something may be logged by a name."""
        return self.possible is None or any(
            name == each or (each.endswith(("/", "_")) and name.startswith(each)) for each in self.possible
        )


@dataclass(frozen=True)
class Written:
    """A metric in the config.

    Attributes:
        path: where it is defined.
        key: its key in a dict; empty in a list or alone.
        kind: its class, if that is known.
        made: the metric itself on the meta device, if it could be made.
        is_apart: whether it is in no collection, so that all of its values begin with its key and `/`.
    """

    path: str
    key: str
    kind: type | None
    made: Any = None
    is_apart: bool = False

    @property
    def higher_is_better(self) -> bool | None:
        """Return which direction is better, if the metric says so."""
        better = getattr(self.made if self.made is not None else self.kind, "higher_is_better", None)
        return better if isinstance(better, bool) else None

    def names(self) -> Names:
        """Return the names that it is logged by."""
        values = self.values()
        computed = self.computed()
        if isinstance(computed, Mapping):
            inner = tuple(values.numbers if values is not None else map(str, computed))
            prefixed = tuple(f"{self.key}{'/' if self.is_apart else '_'}{name}" for name in inner)
            return Names((), inner * (not self.is_apart) + prefixed) if self.key else Names(inner, inner)
        if values is not None and (self.key or not self._is_factory):
            return Names(tuple(values.numbers), tuple(values.numbers))
        kind = type(self.made) if self.made is not None else self.kind
        if kind is None or not _has_one_name(kind) or (self._is_factory and not self.key):
            return Names((), (self.key, f"{self.key}/") if self.is_apart and self.key else None)
        name = self.key or kind.__name__
        return Names((), ()) if _always_several(kind) else Names((name,), (name, f"{name}_"))  # numbers of a vector

    @property
    def _is_factory(self) -> bool:
        return self.made is None and self.kind is not None and "__new__" in vars(self.kind)

    def values(self) -> Values | None:
        """Return the values of no data, as they will be logged or kept in files; None where they cannot be told."""
        from lighter.errors import MisfitError
        from lighter.parts.metrics.values import sort_values

        computed = self.computed()
        try:
            return None if computed is None else sort_values(self.key or type(self.made).__name__, computed)
        except MisfitError:
            return None

    def array_names(self) -> list[str]:
        """Return the names of its values that are known to be no single numbers."""
        values = self.values()
        several = [self.key or self.kind.__name__] if self.kind is not None and _always_several(self.kind) else []
        return [*values.arrays, *several] if values is not None else several

    def computed(self) -> Any:
        """Return the value of no data; None where it cannot be computed."""
        from lighter.engine.trial import without_advice

        if self.made is None:
            return None
        try:
            with without_advice(), sys.modules["torch"].device("meta"):
                return self.made.compute()
        except Exception:  # noqa: BLE001  many metrics need samples
            return None


def metrics_of(found: Found, mode: str) -> list[Written] | None:
    """Return the metrics that the config gives for a mode; None where it is not known which they are."""
    kind = found.kind(found.section)
    if kind is None or not is_ours(kind):
        return None
    if hasattr(kind, "update_evaluator"):
        return _evaluators_of(found, kind, mode)
    given = _given(found, mode)
    if given is None:
        return []
    path, node = given
    if is_target(node.value):
        return [_written(found, path, "")]
    if is_reference(node.value) or not isinstance(node.value, (dict, list)):
        return None
    keys = [str(step) if isinstance(node.value, dict) else "" for step in node.steps()]
    return [_written(found, join(path, step), key) for step, key in zip(node.steps(), keys, strict=True)]


def _evaluators_of(found: Found, kind: Any, mode: str) -> list[Written] | None:
    base: Any = sys.modules["lighter.forward"].ForwardModule
    given = found.argument(found.section, "evaluator_cfg")
    methods = ("metric_step", "forward_step", "compute_evaluator", "on_metric_epoch_end")
    if given is None or any(getattr(kind, name) is not getattr(base, name) for name in methods):
        return None
    paths = _by_mode(found, *given)[mode]
    if not paths:  # a class of the user's may make them
        return None
    torchmetrics: Any = sys.modules.get("torchmetrics")
    kinds = [found.kind(path) for path in paths.values()]
    others = [one for one in kinds if one is not None and not is_factory(one)]
    is_apart = not all(
        torchmetrics and issubclass(one, torchmetrics.Metric | torchmetrics.MetricCollection) for one in others
    )
    return [replace(_written(found, path, key), is_apart=is_apart) for key, path in paths.items()]


def _by_mode(found: Found, path: str, node: Node) -> dict[str, dict[str, str]]:
    """Return the paths of evaluators by split and name, an empty name for one alone; none where they cannot be told."""
    if not is_by_mode(node.value, _SPLITS):
        return dict.fromkeys(_SPLITS, _paths(found, path, node, {}))
    entries: dict[str, dict[str, str]] = {}
    before: dict[str, str] = {}
    for split in _SPLITS:
        inner = found.argument(path, split)
        if inner is not None:
            before = _paths(found, *inner, before)
        elif split in node.value:  # null
            before = {}
        entries[split] = before
    return entries


def _paths(found: Found, path: str, node: Node, before: Mapping[str, str]) -> dict[str, str]:
    """Return the paths of the evaluators of a split: its own, and those of the split before it that it changes."""
    if is_target(node.value):
        return {"": path}
    if not isinstance(node.value, dict) or "" in before:  # a change of the only one is arguments
        return dict(before) if isinstance(node.value, dict) else {}
    own = {str(step): found.argument(path, step) for step in node.steps()}
    given = {key: each[0] for key, each in own.items() if each is not None and is_target(each[1].value)}
    return {key: each for key, each in {**before, **given}.items() if own.get(key, ()) is not None}


def check_metrics(found: Found) -> None:
    """Add a problem for each metric or evaluator that the module will not take."""
    kind, torchmetrics = found.kind(found.section), sys.modules.get("torchmetrics")
    base: Any = sys.modules.get("lighter.base")
    if kind is None or base is None or torchmetrics is None or not issubclass(kind, base.BaseModule):
        return
    if not is_ours(kind):  # it may do anything with what it is given
        return
    for mode in _MODES_OF[found.stage]:
        given = _given(found, mode)
        for path in _members(found, *given) if given is not None else ():
            _check_metric(found, path, "a metric")
    if hasattr(kind, "update_evaluator"):
        _check_evaluators(found, kind)


def _given(found: Found, mode: str) -> tuple[str, Node] | None:
    if found.section == "system":
        holder = found.argument("system", "metrics")
        return found.argument(holder[0], mode) if holder is not None else None
    return found.argument(found.section, f"{mode}_metrics")


def _members(found: Found, path: str, node: Node) -> Iterator[str]:
    """Yield the paths of what has to be a metric."""
    if is_target(node.value) or not isinstance(node.value, (dict, list)):
        yield path
    else:
        yield from (join(path, step) for step in node.steps())


def _check_metric(found: Found, path: str, called: str) -> None:
    from lighter.parts.metrics.foreign import EXPECTED

    followed = found.followed(path)
    node = found.tree.find(followed)
    if node is None or is_reference(node.value) or disabled(node.value) is not False:
        return
    kind = found.kind(followed)
    if not is_target(node.value):
        found.problem(f"{called} is an object; found {indefinite(node.value)}", path, _EXAMPLE)
    elif kind is not None and "_mode_" not in node.value and not _is_metric(kind):
        found.problem(f"{called} has the methods {EXPECTED}; found a {kind.__name__}", path, _EXAMPLE)


def _is_metric(kind: type) -> bool:
    from lighter.parts.metrics.foreign import has_methods

    torchmetrics: Any = sys.modules["torchmetrics"]
    return has_methods(kind) or issubclass(kind, torchmetrics.MetricCollection) or is_factory(kind)


def is_factory(kind: type) -> bool:
    """Return whether calling a class may give an object of another."""
    return any("__new__" in vars(each) for each in kind.__mro__[:-1])


def _has_one_name(kind: type) -> bool:
    """Return whether a class of metrics is known to compute one value, and not a dict of them."""
    return kind.__module__.startswith(_OF_ONE_NUMBER) or returns_no_dict(getattr(kind, "compute", None))


def _always_several(kind: type | None) -> bool:
    """Return whether a metric says by its annotation that it computes a tuple, as curves do."""
    if kind is None or not kind.__module__.startswith(_MADE):
        return False
    try:
        annotation = get_type_hints(kind.compute).get("return")  # type: ignore[attr-defined]
    except Exception:  # noqa: BLE001  names that only a type checker has
        return False
    options = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    return all(get_origin(option) in (tuple, list) for option in options)


def _check_evaluators(found: Found, kind: Any) -> None:
    """Add a problem for each evaluator that lacks a method by which it is asked."""
    base: Any = sys.modules["lighter.forward"].ForwardModule
    given = found.argument(found.section, "evaluator_cfg")
    if given is None or kind.update_evaluator is not base.update_evaluator:
        return
    first = found.argument(given[0], "train") or given  # the other splits may have changes of it, which are arguments
    for path in _definitions(found, *first):
        _check_metric(found, path, "an evaluator")


def _definitions(found: Found, path: str, node: Node) -> Iterator[str]:
    """Yield the paths of the definitions in dicts and lists, without those within others."""
    if is_target(node.value):
        yield path
    elif isinstance(node.value, (dict, list)):
        for step in node.steps():
            inner = found.argument(path, step)
            if inner is not None:
                yield from _definitions(found, *inner)


def _written(found: Found, path: str, key: str) -> Written:
    followed = found.followed(path)
    kind = found.kind(followed)
    return Written(followed, key, kind, _made(found, followed) if kind is not None else None)


def _made(found: Found, path: str) -> Any:
    """Return a metric of torchmetrics on the meta device; None if not all of its arguments are known."""
    from lighter.engine.trial import without_advice

    kind, node = found.kind(path), found.node(path)
    if kind is None or not kind.__module__.startswith(_MADE) or {"_args_", "_mode_"} & set(node.value):
        return None
    if not found.asks:
        return None
    arguments = {str(key): _value(found, join(path, key)) for key in node.value if key not in SPECIAL}
    if not all(map(is_known, arguments.values())):
        return None
    try:
        with without_advice(), sys.modules["torch"].device("meta"):
            return kind(**arguments)
    except Exception:  # noqa: BLE001  `check_constructors` tells
        return None


def _value(found: Found, path: str) -> Any:
    """Return an argument, in which metrics are made too; `UNKNOWN` where that cannot be told."""
    node = found.tree.find(found.followed(path))
    if node is None:
        return UNKNOWN
    if is_target(node.value):
        made = _made(found, found.followed(path))
        return UNKNOWN if made is None else made
    if isinstance(node.value, dict):
        return {key: _value(found, join(path, key)) for key in node.value}
    if isinstance(node.value, list):
        return [_value(found, join(path, step)) for step in node.steps()]
    return plain(node)
