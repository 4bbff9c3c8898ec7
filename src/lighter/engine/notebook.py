"""A run in a notebook: shown as the command line shows it, its failures with the user's frames, on one device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from types import TracebackType
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from lighter.config import Config
from lighter.config.faults import LIGHTNING, module_of, traces
from lighter.config.problems import Problem
from lighter.errors import ConfigError, cut_traceback
from lighter.processes.notebook import is_notebook
from lighter.runs.log import messages_in_notebook

if TYPE_CHECKING:
    import pytorch_lightning as pl

_BETWEEN = ("lighter.", "torch.optim.", "contextlib", *(f"{package}." for package in LIGHTNING))

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def shown_in_notebook(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Show what happens in a function as a notebook's user reads it. Outside of notebooks nothing is changed."""

    # no context manager, as `contextlib` restores the traceback of what passes through it
    @wraps(function)
    def call(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        if not is_notebook():
            return function(*args, **kwargs)
        try:
            with messages_in_notebook():
                return function(*args, **kwargs)
        except Exception as error:
            _leave_users_frames(error)
            # not a bare `raise`, which restores the whole traceback before Python 3.11
            raise error

    return call


def refuse_several_devices(config: Config, stage: str, trainer: pl.Trainer) -> None:
    """Raise a `ConfigError` if a trainer would start the processes of several devices from a kernel.

    Lightning would fork the kernel: each process has its output and its threads, and CUDA does not survive it.
    """
    # with no launcher the processes are there already, as under torchrun
    if not is_notebook() or trainer.world_size <= 1 or trainer.strategy.launcher is None:
        return
    node = config.merged.find("trainer::devices") or config.merged.find("trainer")
    message = f"the {trainer.world_size} processes of several devices cannot be started from a notebook"
    hint = f"In a cell: `!lighter {stage} CONFIG.yaml`. On one device it runs here: trainer::devices=1"
    raise ConfigError([Problem(message, node.origin if node is not None else None, "trainer::devices", hint)])


def _leave_users_frames(error: BaseException | None) -> None:
    # IPython shows some lines of each frame, and between a cell and the step that fails there are thirty
    while error is not None:
        cut_traceback(error, _linked([each for each in traces(error) if not module_of(each).startswith(_BETWEEN)]))
        error = error.__cause__ or error.__context__


def _linked(frames: Sequence[TracebackType]) -> TracebackType | None:
    linked = None
    for trace in reversed(frames):
        linked = TracebackType(linked, trace.tb_frame, trace.tb_lasti, trace.tb_lineno)
    return linked
