"""The plan of what a stage builds: where module, data and trainer are defined, which arguments it leaves out or defers.

The check walks a config by this plan; `fit` and the other stages, `check --probe`, `summary` and `tune` build by it.
It is made of what the classes say of themselves (`needed_for`, `deferred`, `built_on_use`, `inherits`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lighter.config.objects import Objects
from lighter.config.prune import unneeded
from lighter.config.signatures import parameters_of
from lighter.config.tree import is_target, join

INDEX_ARGUMENTS = ("train_indices", "val_indices")
"""The arguments by which a data module says that it makes its own loaders of a split."""


@dataclass(frozen=True)
class SectionPlan:
    """The object of a section (`model`, `system` or `data`), as a stage needs it.

    Attributes:
        path: where it is defined: not the section itself if that refers to another.
        target: the class or function that is called; None where the section defines no object, or an unknown one.
        unneeded: the arguments that the stage does without: `a`, or `a::b` within a dict.
        on_use: of the unneeded arguments, those that are built if the user's code asks for them.
        inherited: the arguments by mode in which a mode takes those of the mode before it, with these modes.
        for_split: of a data module, the arguments in place of `split`, as references; None where `split` is an argument
            of its own.
    """

    path: str
    target: Any = None
    unneeded: Sequence[str] = ()
    deferred: Sequence[str] = ()
    on_use: Sequence[str] = ()
    inherited: Mapping[str, Sequence[str]] = field(default_factory=dict)
    for_split: Mapping[str, str] | None = None

    @classmethod
    def of(cls, path: str, target: Any, stage: str) -> SectionPlan:
        """Plan by what a class says of itself; one that says nothing gets all of its arguments."""
        needed_for = getattr(target, "needed_for", None)
        if not isinstance(needed_for, Mapping):
            return cls(path, target)
        without = unneeded(needed_for, stage)
        on_use = [key for key in getattr(target, "built_on_use", ()) if key in without]
        return cls(path, target, without, getattr(target, "deferred", ()), on_use, getattr(target, "inherits", {}))

    def with_split(self) -> SectionPlan:
        """Return the plan of a data module, which may be given the indices of a split."""
        parameters = (parameters_of(self.target) if self.target is not None else None) or {}
        if self.target is None or "split" in parameters:
            return self
        is_given = {*INDEX_ARGUMENTS} <= set(parameters)
        arguments = {key: f"@{join(join(self.path, 'split'), key)}" for key in INDEX_ARGUMENTS} if is_given else {}
        return replace(self, for_split=arguments)


@dataclass(frozen=True)
class StagePlan:
    """The definitions that a stage needs; `section` is `model` or `system`, `trainer` the path of the trainer's."""

    stage: str
    section: str
    module: SectionPlan
    data: SectionPlan
    trainer: str

    @classmethod
    def of(cls, stage: str, section: str, followed: Callable[[str], str], target: Callable[[str], Any]) -> StagePlan:
        """Plan a stage.

        `followed` gives the path that a reference leads to, `target` what the definition at a path calls: None for
        unknown.
        """
        module, data = (SectionPlan.of(path, target(path), stage) for path in map(followed, (section, "data")))
        return cls(stage, section, module, data.with_split(), followed("trainer"))


def plan_of(objects: Objects, stage: str) -> StagePlan:
    """Plan what is built of a config's objects for a stage. The targets of module and data are imported."""

    def target(path: str) -> Any:
        return objects.target(path) if is_target(objects.lookup(path)) else None

    return StagePlan.of(stage, objects.module_section, objects.followed, target)
