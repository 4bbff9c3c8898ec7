"""The fits of one side of a try: members of an experiment of its own, which is asked for seed after seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from lighter.errors import LighterError
from lighter.experiments.coordinator import Coordinator
from lighter.experiments.executors import make_executor
from lighter.experiments.executors.base import Executor
from lighter.experiments.folder import ExperimentFolder
from lighter.experiments.member_files import read_members, run_of
from lighter.experiments.section import Asked
from lighter.experiments.trials import FAILED, FINISHED, Member
from lighter.files.run_folder import LOSSES
from lighter.runs.provenance import DECIDING
from lighter.runs.read import Run
from lighter.tries.frozen import Change

_TRAINER = ("class", "accelerator", "devices", "nodes", "fast_dev_run")


class StoppedError(Exception):
    """A signal stopped the fits, which are saved."""


class Fits:
    """The fits of one side; what is finished is never trained again.

    Args:
        name: what messages call the side.
        asked: the section `experiment` of its config.
        stack: where its executor stays open until the try ends.
    """

    def __init__(self, name: str, folder: Path, asked: Asked, stack: ExitStack, is_stopped: Callable[[], bool]) -> None:
        self.name, self.folder, self.asked = name, ExperimentFolder(folder), asked
        self.trained: list[int] = []
        self._stack, self._is_stopped = stack, is_stopped
        self._executor: Executor | None = None

    def train(self, seeds: Sequence[int]) -> None:
        """Train with these seeds, as far as that is not done.

        Raises:
            LighterError: a fit failed, or has no objective.
            StoppedError: a signal stopped it.
        """
        missing = [seed for seed in seeds if seed not in self._finished()]
        if missing:
            asked = replace(self.asked, seeds=tuple(seeds))
            self.trained += missing
            if self._executor is None:
                self._executor = self._stack.enter_context(make_executor(asked.executor, self.folder.path))
            coordinator = Coordinator(self.folder, asked, self._executor, is_stopped=self._is_stopped)
            if not coordinator.run():
                raise StoppedError
        failed = [each for each in read_members(self.folder.path) if each.seed in seeds and each.status == FAILED]
        if failed:
            raise LighterError(
                f"a fit of {self.name} failed ({self.folder.path / failed[0].name}):\n\n{failed[0].error}"
            )

    def value(self, seed: int) -> float:
        """Return the metric at the end of the fit with a seed."""
        return self._finished()[seed].results[self.asked.schedule.last][0]

    def run(self, seed: int) -> Run:
        run = self._run(self._finished()[seed])
        assert run is not None
        return run

    @property
    def begun(self) -> list[int]:
        """The seeds of those that were trained here, and began."""
        return [each.seed for each in read_members(self.folder.path) if each.seed in self.trained and self._run(each)]

    def seconds(self, seeds: Sequence[int]) -> float:
        """Return how long the fits with these seeds took, those too that failed or were stopped."""
        runs = [self._run(each) for each in read_members(self.folder.path) if each.seed in seeds]
        return sum(run.seconds or 0.0 for run in runs if run is not None)

    def _run(self, member: Member) -> Run | None:
        return run_of(self.folder.path, member)

    def _finished(self) -> dict[int, Member]:
        members = read_members(self.folder.path)
        last = self.asked.schedule.last
        return {each.seed: each for each in members if each.status == FINISHED and last in each.results}


def are_identical(one: Run, other: Run) -> bool:
    """Return whether two fits came to the same bits: all their metrics, and the losses of their first steps."""
    losses = [run.folder.path / LOSSES for run in (one, other)]
    texts = [path.read_bytes() if path.is_file() else b"" for path in losses]
    return one.metrics == other.metrics and texts[0] == texts[1]


def changed_records(one: Run, other: Run) -> list[Change]:
    """Return what the records of a pair say of their evaluation that is not the same."""
    facts = [_evaluation(run) for run in (one, other)]
    names = [name for name in facts[0] if facts[0][name] != facts[1][name]]
    changes = [Change(name, f"{facts[0][name]} in the baseline's fit, {facts[1][name]} in this") for name in names]
    trained, validated = ([_prints(run, split) for run in (one, other)] for split in ("train", "val"))
    if trained[1] & validated[1] and not trained[0] & validated[0]:
        changes.append(Change("the training data", "it is the validation data, which the baseline does not train on"))
    codes = [run.facts.get("code") or {} for run in (one, other)]
    modules = [name for name in codes[0] if codes[1].get(name, codes[0][name]) != codes[0][name]]
    return [*changes, *(Change(name, "this module is another than in the baseline's fit") for name in modules)]


def _prints(run: Run, split: str) -> set[str]:
    """Return the fingerprints of the datasets of a split, as far as they are known."""
    data = run.facts.get("data")
    loaders = data.get(split) if isinstance(data, dict) else None
    return {each["fingerprint"] for each in loaders or () if isinstance(each, dict) and "fingerprint" in each}


def _evaluation(run: Run) -> dict[str, Any]:
    def section(name: str) -> Mapping[str, Any]:
        value = run.facts.get(name)
        return value if isinstance(value, dict) else {}

    packages = section("software").get("packages") or {}
    return {
        "the split": section("split").get("hash"),
        "the validation data": section("data").get("val"),
        **{f"the trainer's {name}": section("trainer").get(name) for name in _TRAINER},
        **{f"the version of {name}": packages.get(name) for name in DECIDING},
    }
