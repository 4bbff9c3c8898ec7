"""Evaluators: they turn the `metric_dict` of a forward module into metrics, for each split and dataloader.

An evaluator is anything with torchmetrics' or MONAI's methods: see `foreign.py`. Several are a dict by name; where they
can be metrics of torchmetrics, they become a `MetricCollection`, which shares their common work.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Set
from typing import Any, ClassVar, TypeAlias

from torch import nn
from torchmetrics import Metric, MetricCollection

from lighter.config.inherit import is_by_mode
from lighter.config.problems import nearest
from lighter.errors import MisfitError, ModuleTypeError, ModuleValueError
from lighter.parts.describe import describe
from lighter.parts.metrics.foreign import EXPECTED, ForeignMetric, as_metric, has_methods
from lighter.parts.metrics.groups import check_labels, collection_of, share_updates
from lighter.parts.metrics.state import load_metric_states, metric_states
from lighter.parts.metrics.synchronization import of_all_processes
from lighter.parts.metrics.values import Values, sort_values

SPLITS = ("train", "val", "test")
Group: TypeAlias = dict[str, Any]  # evaluators by name; the only one has the empty name
_EXAMPLE = """For example:
  evaluator_cfg:
    train: {_target_: torchmetrics.classification.MulticlassF1Score, num_classes: 10}
    val: {average: macro}   # that of train, with a change; test has the same"""


def check_methods(evaluator: object) -> None:
    """Raise a ModuleTypeError if an object lacks the methods of an evaluator."""
    if isinstance(evaluator, type) or not has_methods(evaluator):
        raise ModuleTypeError(
            f"an evaluator has the methods {EXPECTED}; found {describe(evaluator)}. {_EXAMPLE}", "evaluator_cfg"
        )


class Evaluators(nn.Module):
    """The evaluators of all splits, each with a state of its own.

    Args:
        given: one evaluator or a dict of them for all splits; or a dict by split of these, or of lists of these, one
            for each dataloader. A split without an entry has copies of those of the split before it.
        check: raises if an object is no evaluator.
        adopt: whether evaluators of other libraries become metrics of torchmetrics, by `as_metric`.

    Raises:
        ModuleTypeError: an object is no evaluator.
        ModuleValueError: an unknown split.
    """

    transient: ClassVar[Set[str]] = frozenset({"_fed"})  # of an epoch, and saved with what that has measured

    def __init__(self, given: object, check: Callable[[Any], None] = check_methods, *, adopt: bool = False) -> None:
        super().__init__()
        self._groups: dict[str, list[Group]] = {}
        self._is_list: dict[str, bool] = {}
        self._training: dict[str, list[bool]] = {}
        self._fed: set[tuple[str, int]] = set()
        seen: set[int] = set()
        for split, entry in _entries(given).items():
            items = entry if isinstance(entry, list) else [entry]
            groups = [_group(item, seen, check, adopt=adopt) for item in items]
            self._groups[split] = []
            self._is_list[split] = isinstance(entry, list)
            self._training[split] = [module.training for module in _modules(groups[0])] if groups else []
            for group in groups:
                self._add(split, group)

    def begin(self, split: str, loaders: int) -> None:
        """Prepare for an epoch: an evaluator for each dataloader, emptied of an epoch that was cut short."""
        groups = self._groups.get(split, [])
        if groups and self._is_list[split] and len(groups) != loaders:
            raise MisfitError(
                f"`evaluator_cfg` has a list of {len(groups)} for {split}: one for each dataloader, of which there"
                f" {'is' if loaders == 1 else 'are'} {loaders}. Several evaluators of one dataloader are a dict, by"
                " name; one that is in no list is for all dataloaders.",
                f"evaluator_cfg::{split}",
            )
        while groups and len(groups) < loaders:
            group = copy.deepcopy(groups[0])
            for module, training in zip(_modules(group), self._training[split], strict=True):
                module.training = training  # now, in a validation, Lightning has set all of them to evaluate
            self._add(split, group)
        for key in [key for key in self._fed if key[0] == split]:
            self.end(*key)

    def of(self, split: str, loader: int) -> Group:
        """Return the evaluators of a dataloader, by name, to be updated; empty if there are none."""
        groups = self._groups.get(split)
        if not groups:
            return {}
        self._fed.add((split, loader))
        return groups[loader]

    def fed(self, split: str) -> list[tuple[int, Group]]:
        """Return the evaluators that any process updated in this epoch, with their dataloaders."""
        fed = set[tuple[str, int]]().union(*of_all_processes(self._fed))  # which have to compute together
        loaders = sorted(loader for fed_split, loader in fed if fed_split == split)
        return [(loader, self._groups[split][loader]) for loader in loaders]

    def end(self, split: str, loader: int) -> None:
        self._fed.discard((split, loader))
        for evaluator in self._groups[split][loader].values():
            # an evaluator of a user's own kind may have none: `check` decides what it needs
            reset = getattr(evaluator, "reset", None)
            if reset is not None:
                reset()

    def measuring_state(self, split: str) -> dict[str, Any]:
        """Return what the evaluators of a split have accumulated, except those that are no modules."""
        return {
            str(loader): {name: metric_states(one) for name, one in group.items() if isinstance(one, nn.Module)}
            for loader, group in enumerate(self._groups.get(split, ()))
            if (split, loader) in self._fed
        }

    def load_measuring_state(self, split: str, state: Mapping[str, Any]) -> None:
        for loader, saved in state.items():
            group = self.of(split, int(loader))
            for name in saved.keys() & group.keys():
                load_metric_states(group[name], saved[name])

    def has(self, split: str) -> bool:
        return bool(self._groups.get(split))

    def _add(self, split: str, group: Group) -> None:
        loader = len(self._groups[split])
        self._groups[split].append(group)
        for number, evaluator in enumerate(group.values()):
            if isinstance(evaluator, nn.Module):  # the names in checkpoints
                self.add_module("_".join(map(str, (split, loader, number) if number else (split, loader))), evaluator)


def accepted_by(evaluator: object, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Select the keyword arguments that an evaluator's `update` takes."""
    update = getattr(evaluator, "update", None)
    if update is None:  # another kind, for which the module has a way
        return dict(inputs)
    takes = inspect.signature(update).parameters
    if any(item.kind is inspect.Parameter.VAR_KEYWORD for item in takes.values()):
        return dict(inputs)
    return {key: value for key, value in inputs.items() if key in takes}


def epoch_values(name: str, evaluator: object, computed: object) -> Values:
    """Sort the values of an evaluator, named by its own keys, by its name in the config, or by its class."""
    if isinstance(evaluator, (Metric, MetricCollection)):
        check_labels(evaluator)
    kind = type(evaluator.metric if isinstance(evaluator, ForeignMetric) else evaluator).__name__
    if isinstance(computed, Mapping) and name:
        computed = {f"{name}/{key}": value for key, value in computed.items()}
    return sort_values(name or kind, computed)


def _entries(given: Any) -> dict[str, Any]:
    if not is_by_mode(given, SPLITS):
        given = dict.fromkeys(SPLITS, given) if given is not None else {}
    unknown = [key for key in given if key not in SPLITS]
    if unknown:
        raise ModuleValueError(
            f"`evaluator_cfg` has no `{unknown[0]}`. {nearest(unknown[0], SPLITS)}", f"evaluator_cfg::{unknown[0]}"
        )
    entries, before = {}, None
    for split in SPLITS:
        # a split without an entry has that of the split before it
        before = given.get(split, before)
        if before is not None:
            entries[split] = before
    return entries


def _group(given: Any, seen: set[int], check: Callable[[Any], None], *, adopt: bool) -> Group:
    named = isinstance(given, Mapping) and not isinstance(given, nn.Module)
    members = {str(key): value for key, value in given.items() if value is not None} if named else {"": given}
    for evaluator in members.values():
        check(evaluator)
        if isinstance(evaluator, MetricCollection):
            share_updates(evaluator)
    if any(id(evaluator) in seen for evaluator in members.values()):  # two splits would mix their states
        members = copy.deepcopy(members)
    seen |= {id(evaluator) for evaluator in members.values()}
    if adopt:
        # a module's own buffers keep their names in checkpoints
        keeps = {key for key, one in members.items() if isinstance(one, nn.Module) and hasattr(one, "update")}
        members = {key: one if key in keeps else as_metric(one) for key, one in members.items()}
    if named and all(isinstance(evaluator, (Metric, MetricCollection)) for evaluator in members.values()):
        return {"": collection_of(members)} if members else {}
    return members


def _modules(group: Group) -> list[nn.Module]:
    return [inner for evaluator in group.values() if isinstance(evaluator, nn.Module) for inner in evaluator.modules()]
