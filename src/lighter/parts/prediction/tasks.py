"""Prediction tasks: methods of a module's that run beside `predict_step`, share what they need, save their results.

The family of methods, for a task `probs` that needs a dependency `softmax`:

    predict_probs_start(self)                       optional, before the loop: {"dependency": ["softmax"], "result": []}
    predict_softmax_dependency(self, batch)         once for each batch, however many tasks need it
    predict_probs(self, batch, softmax)             for each batch; a result that is not None is appended to the state
    predict_probs_end(self, result, output_path)    optional, after the loop: saves the state

This module checks the names and the methods; `lighter.parts.prediction.task_run` runs them.
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
from lighter.parts.prediction.task_run import SUFFIXES, TaskRun, or_write, start_run


class PredictTasks:
    """The prediction tasks of a module, checked when they are named.

    Args:
        given: names, or one name; None for no task.
        kind: the module's class, which has the methods.

    Raises:
        ModuleTypeError: something else was given.
        ModuleValueError: a name that cannot be one, a task without its method, a method of the family that no task
            would call; all of them at once.
    """

    def __init__(self, given: Any, kind: type) -> None:
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
        """What a copy gets: all but a run that is not the copy's."""
        return {**self.__dict__, "run": None}

    def start(self, module: LightningModule, step: Callable[..., Any] | None) -> None:
        """Begin a run: call what the tasks have to do before it, check what they ask for, make their folders.

        Args:
            module: the module, in a trainer that predicts.
            step: its own `predict_step`, where it has one.
        """
        self.run = start_run(self.names, module, step) if self.names else None

    def end(self) -> None:
        """Let every task save its results."""
        run, self.run = self.run, None
        if run is not None:
            run.end()

    def are_due(self, *, is_step_written: bool) -> bool:
        """Whether the tasks run with the step that is asked for now, and not only what is written there."""
        if self.run is None or not self.run.is_open:
            return bool(self.names) and not is_step_written
        return not self.run.is_inside  # where a step calls `super().predict_step(...)`, or a task calls the step

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
        elif not _has(kind, method):
            advice = or_write(method, name, [other for other in _others(kind) if not other.endswith(SUFFIXES)])
            yield f"`predict_tasks` names `{name}`, and {kind.__name__} has no method `{method}`. {advice}"


class PredictStep:
    """`predict_step`, as an attribute of a class: what is written there, and the tasks beside it while they run.

    Where nothing is written, or only a step of ours that `gives_way`, the tasks are the step. A module without tasks
    does not notice.
    """

    def __init__(self, own: Any) -> None:
        self.own = own
        self.is_written = not is_marked(own, "is_missing") and not is_marked(own, "gives_way")

        def predict_step(module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
            tasks = tasks_of(module)
            run = tasks.run if tasks is not None else None
            if run is None or not run.is_open:
                raise ModeError("prediction tasks run while a trainer predicts (trainer.predict); none does now")
            return run.step(self.step_of(module), batch, batch_idx, dataloader_idx)

        self._with_tasks = predict_step

    def step_of(self, module: Any) -> Callable[..., Any] | None:
        """What is written, as a method of the module's; None where nothing is."""
        return self.own.__get__(module, type(module)) if self.is_written else None

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        tasks = tasks_of(instance)
        if tasks is not None and tasks.are_due(is_step_written=self.is_written):
            return MethodType(self._with_tasks, instance)
        return self.own.__get__(instance, owner)


def tasks_of(module: Any) -> PredictTasks | None:
    """The tasks of a module; None for the class, and before its constructor has made them."""
    return module.__dict__.get("_predict_tasks") if module is not None else None


def _unused(names: tuple[str, ...], kind: type) -> Iterator[str]:
    """Methods that look like a task's, and that nothing would call: a misspelt `predict_<task>_end` loses the results.

    The methods of tasks that are there and not named are not among them.
    """
    for method in _others(kind):
        stem, _, last = method.rpartition("_")
        task = stem.removeprefix("predict_")
        if last in ("start", "end") and stem.startswith("predict_") and not _has(kind, stem):
            near = close_to(task, names)
            hint = f"Did you mean `predict_{near}_{last}`?" if near else "Rename it if it is no task's."
            yield f"`{kind.__name__}.{method}` belongs to no task: there is no `{stem}`. {hint}"
        near = close_to(last, [word for word in ("start", "end") if abs(len(word) - len(last)) < 2])
        if task in names and near not in (None, last) and f"{task}_{last}" not in names:
            yield f"`{kind.__name__}.{method}` would never be called. Did you mean `{stem}_{near}`?"


def _others(kind: type) -> list[str]:
    """The methods of a class that begin with `predict_` and are not Lightning's."""
    return [
        name for name in dir(kind) if name.startswith("predict_") and _has(kind, name) and name not in _OF_LIGHTNING
    ]


def _has(kind: type, method: str) -> bool:
    return callable(getattr(kind, method, None))


_OF_LIGHTNING = frozenset(dir(LightningModule))
