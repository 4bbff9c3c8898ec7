"""Run prediction tasks, from what they request before the loop to what they save after it.

The batch is the first argument of a task and of a dependency. By name they can take `batch_idx`, `dataloader_idx` and
`step_output` (what the module's own `predict_step` returned), and a task also `result` (its state) and `output_path`
(its folder).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from traceback import format_exception_only
from typing import Any

from lightning_utilities.core.rank_zero import rank_zero_warn
from pytorch_lightning import LightningModule, Trainer

from lighter.errors import ModuleError, ModuleTypeError, ModuleValueError, add_note
from lighter.files.run_folder import claim_predictions
from lighter.files.storage import is_remote
from lighter.parts.describe import describe
from lighter.parts.prediction.methods import (
    BY_POSITION,
    OF_BATCH,
    OF_TASK,
    Method,
    dependency_method,
    end_method,
    start_method,
    task_method,
)


@dataclass(frozen=True)
class Task:
    """A task of a run."""

    name: str
    predict: Method
    end: Method | None
    state: Any  # its results are appended to it
    is_read: bool  # by the task's end, or by whoever made the state


class TaskRun:
    """The tasks of a run that has started."""

    def __init__(
        self, tasks: Sequence[Task], dependencies: Mapping[str, Method], folder: Path, trainer: Trainer
    ) -> None:
        self.tasks, self.dependencies, self.folder, self.trainer = tasks, dependencies, folder, trainer
        self.is_inside = False  # true while a step runs, which may call itself
        self._warned: set[str] = set()

    @property
    def is_open(self) -> bool:
        # after a run that failed, no hook has ended it
        return self.trainer.predicting

    def step(self, step: Callable[..., Any] | None, batch: object, batch_idx: int, dataloader_idx: int) -> Any:
        """Run the module's own step and the tasks; return what the step returned, or the tasks' results by name."""
        self.is_inside = True
        try:
            output = step(*(batch, batch_idx, dataloader_idx)[: _most_arguments(step)]) if step is not None else None
            named = {"batch_idx": batch_idx, "dataloader_idx": dataloader_idx, "step_output": output}
            shared = {name: method(batch, **named) for name, method in self.dependencies.items()}
            results = {
                task.name: task.predict(
                    batch, **named, **shared, result=task.state, output_path=self.folder / task.name
                )
                for task in self.tasks
            }
            self._keep(results, are_returned=step is None)
        except Exception as error:
            add_note(error, f"at batch {batch_idx} of predict dataloader {dataloader_idx}: {describe(batch)}")
            raise
        finally:
            self.is_inside = False
        return results if step is None else output

    def _keep(self, results: Mapping[str, Any], *, are_returned: bool) -> None:
        for task in self.tasks:
            result = results[task.name]
            if result is not None and task.is_read:
                if not hasattr(task.state, "append"):
                    raise ModuleTypeError(
                        f"`{task.predict.name}` returned {describe(result)}, and its state is {describe(task.state)},"
                        " which has no `append`. Take the state, change it in place, and return None:\n"
                        f"  def {task.predict.name}(self, batch, result): ..."
                    )
                task.state.append(result)
            # what the step returns goes on to callbacks that write; this result goes nowhere
            elif result is not None and not are_returned and task.name not in self._warned:
                self._warned.add(task.name)
                rank_zero_warn(
                    f"`{task.predict.name}` returns results, and nothing saves them. Write\n"
                    f"  def {task.predict.name}_end(self, result, output_path): ..."
                )

    def end(self) -> None:
        """Let every task save its state, in every process; one that fails keeps no other from saving."""
        failed: list[Exception] = []
        for task in self.tasks:
            try:
                if task.end is not None:
                    arguments = {"result": task.state, "output_path": self.folder / task.name}
                    task.end(*(arguments[name] for name in task.end.first), **arguments)
            except Exception as error:  # noqa: BLE001 - raised below, when the others have saved theirs
                failed.append(error)
        for other in failed[1:]:
            add_note(failed[0], "".join(format_exception_only(other)).rstrip())
        if failed:
            raise failed[0]
        # a script that continues after the run finds the files of all processes
        self.trainer.strategy.barrier()


def start_run(names: Sequence[str], module: LightningModule, step: Callable[..., Any] | None) -> TaskRun:
    """Ask the tasks what they need, check that it exists, and make their folders; all problems are in one error."""
    if step is not None and "dataloader_iter" in inspect.signature(step).parameters:
        raise ModuleTypeError("prediction tasks need batches, and `predict_step` takes a `dataloader_iter`")
    offered = (*OF_BATCH, *(("step_output",) if step is not None else ()))
    tasks: list[Task] = []
    dependencies: dict[str, Method] = {}
    problems: list[str] = []
    for name in names:
        try:
            requested, start = start_method(name, module)
            dependencies |= {item: dependency_method(item, name, module, offered) for item in requested}
            end = end_method(name, module)
            predict = task_method(name, module, (*offered, *OF_TASK), requested)
            is_read = end is not None or "result" in start
            tasks.append(Task(name, predict, end, start.get("result", []), is_read))
        except ModuleError as error:
            problems.append(str(error))
    if problems:
        raise ModuleValueError("\n".join(dict.fromkeys(problems)))
    return TaskRun(tasks, dependencies, make_folders(module.trainer, names), module.trainer)


def make_folders(trainer: Trainer, names: Sequence[str]) -> Path:
    """Make new folders for the tasks' outputs, `predictions/<task>` in the trainer's folder, in every process."""
    root = str(trainer.default_root_dir)
    if is_remote(root):
        raise ModuleValueError(
            f"prediction tasks write to a folder on disk; the trainer's `default_root_dir` is {root}"
        )
    claimed: Path | OSError | None = None
    if trainer.is_global_zero:
        try:
            claimed = claim_predictions(Path(root).absolute())
        except OSError as error:
            claimed = error
    # an error too: the others would wait for the folder
    claimed = trainer.strategy.broadcast(claimed)
    if isinstance(claimed, OSError):
        raise claimed
    folder = Path(str(claimed))
    for name in names:
        (folder / name).mkdir(parents=True, exist_ok=True)  # by each process, whose disk may be its own
    return folder


def _most_arguments(step: Callable[..., Any]) -> int:
    # as Lightning counts them, which leaves out what the step does not take
    parameters = inspect.signature(step).parameters.values()
    if any(item.kind is inspect.Parameter.VAR_POSITIONAL for item in parameters):
        return 3
    return sum(item.kind in BY_POSITION for item in parameters)
