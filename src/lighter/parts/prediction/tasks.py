"""Prediction tasks: methods that run beside `predict_step`, share dependencies, and save their results.

The family of methods, for a task `probs` that needs a dependency `softmax`:

    predict_probs_start(self)                       optional, before the loop: {"dependency": ["softmax"], "result": []}
    predict_softmax_dependency(self, batch)         once for each batch, however many tasks need it
    predict_probs(self, batch, softmax)             for each batch; a result that is not None is appended to the state
    predict_probs_end(self, result, output_path)    optional, after the loop: saves the state

This module checks the names and the methods; `methods.py` calls them, and `task_run.py` runs them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import MethodType
from typing import Any

from pytorch_lightning import LightningModule

from lighter.config.problems import close_to
from lighter.errors import ModeError, ModuleTypeError, ModuleValueError
from lighter.parts.describe import describe
from lighter.parts.hooks import is_marked
from lighter.parts.prediction.methods import SUFFIXES, has_method, or_write
from lighter.parts.prediction.task_run import TaskRun, start_run


class PredictTasks:
    """The prediction tasks of a module, checked when they are named; all problems are in one error."""

    def __init__(self, given: object, kind: type) -> None:
        listed: Any = [] if given is None else [given] if isinstance(given, str) else given
        if not (isinstance(listed, (list, tuple)) and all(isinstance(name, str) for name in listed)):
            raise ModuleTypeError(
                f"`predict_tasks` is a name, or a list of names; found {describe(given)}. For example:\n"
                "  predict_tasks: [probabilities, overlays]",
                "predict_tasks",
            )
        self.names: tuple[str, ...] = tuple(listed)
        problems = [problem for name in dict.fromkeys(self.names) for problem in self._problems_of(name, kind)]
        if self.names:
            problems += _unused(self.names, kind)
        if problems:
            raise ModuleValueError("\n".join(problems), "predict_tasks")
        self.run: TaskRun | None = None

    def __getstate__(self) -> dict[str, Any]:
        # a copy has no part in the original's run
        return {**self.__dict__, "run": None}

    def start(self, module: LightningModule, step: Callable[..., Any] | None) -> None:
        self.run = start_run(self.names, module, step) if self.names else None

    def end(self) -> None:
        run, self.run = self.run, None
        if run is not None:
            run.end()

    def are_due(self, *, is_step_written: bool) -> bool:
        if self.run is None or not self.run.is_open:
            return bool(self.names) and not is_step_written
        # inside, a step calls `super().predict_step(...)`, or a task calls the step
        return not self.run.is_inside

    def _problems_of(self, name: str, kind: type) -> Iterator[str]:
        method = f"predict_{name}"
        if self.names.count(name) > 1:
            yield f"`predict_tasks` names `{name}` {self.names.count(name)} times"
        if not method.isidentifier():
            yield f"`predict_tasks` names `{name}`, and a task's method, `predict_<task>`, cannot be called so"
        elif method in _OF_LIGHTNING:
            yield f"`predict_tasks` names `{name}`, but `{method}` is Lightning's; give the task another name"
        elif name.endswith(SUFFIXES):
            suffix = next(suffix for suffix in SUFFIXES if name.endswith(suffix))
            yield f"`predict_tasks` names `{name}`, but a method that ends in `{suffix}` is a part of another task"
        elif not has_method(kind, method):
            advice = or_write(method, name, [other for other in _others(kind) if not other.endswith(SUFFIXES)])
            yield f"`predict_tasks` names `{name}`, and {kind.__name__} has no method `{method}`. {advice}"


class PredictStep:
    """`predict_step` as an attribute of a class: the user's step, and the tasks beside it while they run.

    Without a user's step, or with one of ours that `gives_way`, the tasks are the step. A module without tasks is not
    affected.
    """

    def __init__(self, step: Any) -> None:
        self.step = step
        self.is_written = not is_marked(step, "is_missing") and not is_marked(step, "gives_way")

        def predict_step(module: object, batch: object, batch_idx: int, dataloader_idx: int = 0) -> Any:
            tasks = tasks_of(module)
            run = tasks.run if tasks is not None else None
            if run is None or not run.is_open:
                raise ModeError("prediction tasks run while a trainer predicts (trainer.predict); none does now")
            return run.step(self.step_of(module), batch, batch_idx, dataloader_idx)

        self._with_tasks = predict_step

    def step_of(self, module: Any) -> Callable[..., Any] | None:
        return self.step.__get__(module, type(module)) if self.is_written else None

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        tasks = tasks_of(instance)
        if tasks is not None and tasks.are_due(is_step_written=self.is_written):
            return MethodType(self._with_tasks, instance)
        return self.step.__get__(instance, owner)


def tasks_of(module: object) -> PredictTasks | None:
    # none for the class, and before the constructor has made them
    return module.__dict__.get("_predict_tasks") if module is not None else None


def _unused(names: tuple[str, ...], kind: type) -> Iterator[str]:
    """Yield methods that look like a task's and are never called: a misspelt `predict_<task>_end` loses the results."""
    for method in _others(kind):
        stem, _, last = method.rpartition("_")
        task = stem.removeprefix("predict_")
        if last in ("start", "end") and stem.startswith("predict_") and not has_method(kind, stem):
            near = close_to(task, names)
            hint = f"Did you mean `predict_{near}_{last}`?" if near else "Rename it if it is no task's."
            yield f"`{kind.__name__}.{method}` belongs to no task: there is no `{stem}`. {hint}"
        # `predict_probs_ends` looks like a task of its own, and loses the results of `probs`
        near = close_to(last, [word for word in ("start", "end") if abs(len(word) - len(last)) < 2])
        if task in names and near not in (None, last) and f"{task}_{last}" not in names:
            yield f"`{kind.__name__}.{method}` would never be called. Did you mean `{stem}_{near}`?"


def _others(kind: type) -> list[str]:
    return [
        name
        for name in dir(kind)
        if name.startswith("predict_") and has_method(kind, name) and name not in _OF_LIGHTNING
    ]


_OF_LIGHTNING = frozenset(dir(LightningModule))
