"""One run of prediction tasks: from what they ask for before the loop to what they save after it.

The batch is the first argument of a task and of a dependency. What else they can have, they take by name:
`batch_idx`, `dataloader_idx`, `step_output` (what the module's own `predict_step` returned), and a task also
`result` (its state) and `output_path` (its folder).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from traceback import format_exception_only
from typing import Any

from lightning_utilities.core.rank_zero import rank_zero_warn
from pytorch_lightning import LightningModule, Trainer

from lighter.config.problems import close_to, nearest
from lighter.errors import ModuleError, ModuleTypeError, ModuleValueError, add_note
from lighter.files.run_folder import claim_predictions
from lighter.files.storage import is_remote
from lighter.parts.describe import describe

_OF_BATCH = ("batch_idx", "dataloader_idx")
_OF_TASK = ("result", "output_path")
_NO_DEPENDENCIES = ("batch", *_OF_BATCH, *_OF_TASK, "step_output")
SUFFIXES = ("_start", "_end", "_dependency")
_OF_END = ("result", "output_path")
_BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_KEYS = ("dependency", "result")
_FORM = """It returns what the task needs and the state that it begins with; each may be left out:
  return {"dependency": ["softmax"], "result": []}"""


class Method:
    """A method of the family, and which of the arguments that it can have it takes.

    Args:
        module: whose method it is.
        name: of the method.
        first: what it is given by position.
        offered: what it may take by name.
        asked: what it has asked for, and must take by name.
        advice: what else to know if it cannot be called.

    Raises:
        ModuleTypeError: it cannot be called with these.
    """

    def __init__(
        self,
        module: object,
        name: str,
        first: Sequence[str],
        offered: Sequence[str] = (),
        asked: Sequence[str] = (),
        advice: str = "",
    ) -> None:
        self.name, self.function, self.first = name, getattr(module, name), first
        signature = inspect.signature(self.function)
        takes_any = any(item.kind is inspect.Parameter.VAR_KEYWORD for item in signature.parameters.values())
        self.takes = [item for item in offered if takes_any or item in signature.parameters] + list(asked)
        try:
            signature.bind(*first, **dict.fromkeys(self.takes))
        except TypeError as error:
            example = f"def {name}({', '.join(['self', *first, *asked])}): ..."
            raise ModuleTypeError(
                f"`{name}{signature}` cannot be called: {error}. Write it as\n  {example}{advice}"
            ) from None

    def __call__(self, /, *first: Any, **named: Any) -> Any:
        """What it returns; an error of the user's says in which method it was."""
        try:
            return self.function(*first, **{name: named[name] for name in self.takes})
        except Exception as error:
            add_note(error, f"in `{self.name}`")
            raise


@dataclass(frozen=True)
class Task:
    """A task of a run.

    Attributes:
        state: what its results are appended to.
        is_read: whether anybody can read the state: the task's end, or who made it.
    """

    name: str
    predict: Method
    end: Method | None
    state: Any
    is_read: bool

    def keep(self, result: Any) -> None:
        """Append a result to the state.

        Raises:
            ModuleTypeError: nothing can be appended to the state.
        """
        append = getattr(self.state, "append", None)
        if append is None:
            raise ModuleTypeError(
                f"`{self.predict.name}` returned {describe(result)}, and its state is {describe(self.state)}, which has"
                " no `append`. Take the state, change it in place, and return None:\n"
                f"  def {self.predict.name}(self, batch, result): ..."
            )
        append(result)


class TaskRun:
    """Tasks that have started.

    Attributes:
        is_inside: whether a step is running, which may call itself.
    """

    def __init__(
        self, tasks: Sequence[Task], dependencies: Mapping[str, Method], folder: Path, trainer: Trainer
    ) -> None:
        self.tasks, self.dependencies, self.folder, self.trainer = tasks, dependencies, folder, trainer
        self.is_inside = False
        self._warned: set[str] = set()

    @property
    def is_open(self) -> bool:
        """Whether the trainer still predicts; it does not when a run has failed."""
        return self.trainer.predicting

    def step(self, step: Callable[..., Any] | None, batch: Any, batch_idx: int, dataloader_idx: int) -> Any:
        """What the module's own step returns, after the tasks have run too; without one, the tasks' results by name."""
        self.is_inside = True
        try:
            output = step(*(batch, batch_idx, dataloader_idx)[: _most_arguments(step)]) if step is not None else None
            named = {"batch_idx": batch_idx, "dataloader_idx": dataloader_idx, "step_output": output}
            results = self._results(batch, named)
            self._keep(results, are_returned=step is None)
        except Exception as error:
            add_note(error, f"at batch {batch_idx} of predict dataloader {dataloader_idx}: {describe(batch)}")
            raise
        finally:
            self.is_inside = False
        return results if step is None else output

    def _results(self, batch: Any, named: Mapping[str, Any]) -> dict[str, Any]:
        shared = {name: method(batch, **named) for name, method in self.dependencies.items()}
        return {
            task.name: task.predict(batch, **named, **shared, result=task.state, output_path=self.folder / task.name)
            for task in self.tasks
        }

    def _keep(self, results: Mapping[str, Any], *, are_returned: bool) -> None:
        for task in self.tasks:
            result = results[task.name]
            if result is not None and task.is_read:
                task.keep(result)
            elif result is not None and not are_returned and task.name not in self._warned:
                self._warned.add(task.name)
                rank_zero_warn(
                    f"`{task.predict.name}` returns results, and nothing saves them. Write\n"
                    f"  def {task.predict.name}_end(self, result, output_path): ..."
                )

    def end(self) -> None:
        """Let every task save its state, in every process. One that fails keeps no other from saving."""
        failed: list[Exception] = []
        for task in self.tasks:
            try:
                if task.end is not None:
                    given = {"result": task.state, "output_path": self.folder / task.name}
                    task.end(*(given[name] for name in task.end.first), **given)
            except Exception as error:  # noqa: BLE001 - raised below, when the others have saved theirs
                failed.append(error)
        for other in failed[1:]:
            add_note(failed[0], "".join(format_exception_only(other)).rstrip())
        if failed:
            raise failed[0]
        self.trainer.strategy.barrier()  # after the run, every process's files are there


def start_run(names: Sequence[str], module: LightningModule, step: Callable[..., Any] | None) -> TaskRun:
    """Ask the tasks what they need, check that it is there, and make their folders.

    Args:
        names: of the tasks.
        module: whose methods they are, in a trainer that predicts.
        step: the module's own `predict_step`, where it has one.

    Raises:
        ModuleValueError: what they ask for is not there, or their methods cannot be called with it; all at once.
    """
    if step is not None and "dataloader_iter" in inspect.signature(step).parameters:
        raise ModuleTypeError("prediction tasks need batches, and `predict_step` takes a `dataloader_iter`")
    offered = (*_OF_BATCH, *(("step_output",) if step is not None else ()))
    tasks: list[Task] = []
    dependencies: dict[str, Method] = {}
    problems: list[str] = []
    for name in names:
        try:
            asked, start = _started(name, module)
            dependencies |= {item: _dependency(item, name, module, offered) for item in asked}
            tasks.append(_task(name, module, (*offered, *_OF_TASK), asked, start))
        except ModuleError as error:
            problems.append(str(error))
    if problems:
        raise ModuleValueError("\n".join(dict.fromkeys(problems)))
    return TaskRun(tasks, dependencies, make_folders(module.trainer, names), module.trainer)


def make_folders(trainer: Trainer, names: Sequence[str]) -> Path:
    """New folders for the tasks' outputs, `predictions/<task>` in the trainer's folder, known to every process.

    Raises:
        ModuleValueError: the trainer's folder is not on a disk.
        OSError: they cannot be made.
    """
    root = str(trainer.default_root_dir)
    if is_remote(root):
        raise ModuleValueError(
            f"prediction tasks write to a folder on disk; the trainer's `default_root_dir` is {root}"
        )
    made: Any = None
    if trainer.is_global_zero:
        try:
            made = claim_predictions(Path(root).absolute())
        except OSError as error:
            made = error
    made = trainer.strategy.broadcast(made)  # the others wait for it
    if isinstance(made, OSError):
        raise made
    folder = Path(made)
    for name in names:
        (folder / name).mkdir(parents=True, exist_ok=True)  # by each process, whose disk may be its own
    return folder


def _started(task: str, module: LightningModule) -> tuple[Sequence[str], Mapping[str, Any]]:
    """The dependencies that a task asks for, and all that its start returned; nothing where it has no start."""
    name = f"predict_{task}_start"
    if not _has(module, name):
        return (), {}
    returned = Method(module, name, ())()
    if not isinstance(returned, Mapping):
        raise ModuleTypeError(f"`{name}` returned {describe(returned)}. {_FORM}")
    unknown = [key for key in returned if key not in _KEYS]
    if unknown:
        raise ModuleValueError(f"`{name}` returned the key `{unknown[0]}`. {nearest(unknown[0], _KEYS)} {_FORM}")
    asked = returned.get("dependency", ())
    asked = (asked,) if isinstance(asked, str) else asked
    if not (isinstance(asked, (list, tuple)) and all(isinstance(item, str) for item in asked)):
        raise ModuleTypeError(f"`{name}` returned as `dependency` {describe(asked)}. {_FORM}")
    return tuple(dict.fromkeys(asked)), returned


def _dependency(name: str, task: str, module: LightningModule, offered: Sequence[str]) -> Method:
    """The method of a dependency that a task asks for."""
    method = f"predict_{name}_dependency"
    if name in _NO_DEPENDENCIES:
        raise ModuleValueError(
            f"`predict_{task}_start` asks for the dependency `{name}`, which is no dependency:"
            f" `predict_{task}` may take a parameter of that name without asking for it"
        )
    if not _has(module, method):
        known = [item for item in dir(type(module)) if item.startswith("predict_") and not item.endswith(SUFFIXES[:2])]
        raise ModuleValueError(
            f"`predict_{task}_start` asks for the dependency `{name}`, and {type(module).__name__} has no method"
            f" `{method}`. {or_write(method, name, known)}"
        )
    advice = f"\n  It may also take, by name, {', '.join(_OF_BATCH)} and step_output (where there is a `predict_step`)."
    return Method(module, method, ("batch",), offered, advice=advice)


def _task(
    name: str, module: LightningModule, offered: Sequence[str], asked: Sequence[str], start: Mapping[str, Any]
) -> Task:
    method = f"predict_{name}"
    end = _end(module, f"{method}_end") if _has(module, f"{method}_end") else None
    by_name = [*_OF_BATCH, "step_output (where there is a `predict_step`)", *_OF_TASK]
    advice = (
        f"\n  It may also take, by name, {', '.join(by_name)}, and the dependencies that `{method}_start` asks for."
    )
    predict = Method(module, method, ("batch",), offered, asked, advice)
    return Task(name, predict, end, start.get("result", []), is_read=end is not None or "result" in start)


def _end(module: LightningModule, method: str) -> Method:
    """What saves a task's result: its parameters are in any order, and of two, one of another name gets the rest."""
    parameters = inspect.signature(getattr(module, method)).parameters.values()
    required = [item.name for item in parameters if item.kind in _BY_POSITION and item.default is item.empty]
    is_variable = any(item.kind is inspect.Parameter.VAR_POSITIONAL for item in parameters)
    if is_variable or (len(required) != len(_OF_END) and not set(required) <= set(_OF_END)):
        return Method(module, method, _OF_END)
    left_over = [name for name in _OF_END if name not in required]
    first = [name if name in _OF_END else left_over.pop(0) for name in required]
    return Method(module, method, first, [name for name in _OF_END if name not in first])


def or_write(method: str, name: str, methods: Iterable[str]) -> str:
    """What to do about a method that is missing: take the one of the closest task or dependency, or write it."""
    named = {known.removeprefix("predict_").removesuffix("_dependency"): known for known in methods}
    near = close_to(name, list(named))
    either = f"Did you mean `{named[near]}`? Or write it" if near is not None else "Write it"
    return f"{either}:\n  def {method}(self, batch): ..."


def _has(module: LightningModule, method: str) -> bool:
    return callable(getattr(type(module), method, None))


def _most_arguments(step: Callable[..., Any]) -> int:
    """How many arguments a step takes by position, at most, as Lightning counts them."""
    parameters = inspect.signature(step).parameters.values()
    if any(item.kind is inspect.Parameter.VAR_POSITIONAL for item in parameters):
        return 3
    return sum(item.kind in _BY_POSITION for item in parameters)
