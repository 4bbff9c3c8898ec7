"""The arguments of `lighter.Trainer` and its defaults."""

from __future__ import annotations

import inspect
import os
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import pytorch_lightning
from pytorch_lightning.callbacks import ModelSummary, ProgressBar, TQDMProgressBar
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.profilers import AdvancedProfiler, PyTorchProfiler, SimpleProfiler

from lighter._lightning.versions import IS_TESTED
from lighter.files.run_folder import METRICS, PROFILE
from lighter.files.storage import exists, joined
from lighter.processes.notebook import is_notebook
from lighter.trainer.model_line import ModelLine
from lighter.trainer.progress_line import ProgressLine

if IS_TESTED:
    from lighter.trainer.csv_logger import CSVLogger

OWN_ARGUMENTS = ("exact_resume", "on_non_finite", "on_save_error", "async_save")  # the others are Lightning's
_PROFILERS: dict[str, type] = {"simple": SimpleProfiler, "advanced": AdvancedProfiler, "pytorch": PyTorchProfiler}
OnNonFinite = Literal["stop", "skip", "continue"]
OnSaveError = Literal["stop", "continue"]


def signature_with_lightnings(init: Callable) -> inspect.Signature:
    """Return a constructor's signature with Lightning's arguments in the place of `**kwargs`."""
    lightnings = inspect.signature(pytorch_lightning.Trainer.__init__).parameters
    _, *ours, _ = inspect.signature(init, eval_str=True).parameters.values()
    return inspect.Signature([lightnings["self"], *ours, *(lightnings[name] for name in lightnings if name != "self")])


def one_of(choices: Any, value: str, name: str) -> str:
    if value not in get_args(choices):
        raise ValueError(f"{name} is one of {', '.join(get_args(choices))}, not {value!r}")
    return value


def flag(value: object, name: str) -> bool:
    if value not in (True, False):
        raise ValueError(f"{name} is True or False, not {value!r}")
    return bool(value)


def with_defaults(arguments: Mapping[str, Any], with_checkpoints: Callable[[list, Any], list]) -> dict[str, Any]:
    """Return the arguments of Lightning's trainer with Lighter's defaults for those that are left out.

    `with_checkpoints` adds the default checkpoint callbacks to a list of callbacks, given the run's folder.
    """
    kwargs, folder = dict(arguments), arguments.get("default_root_dir")
    callbacks = kwargs.get("callbacks") or []
    callbacks = list(callbacks) if isinstance(callbacks, (list, tuple)) else [callbacks]
    if kwargs.get("logger") in (None, True):
        kwargs["logger"] = default_logger(folder)
    profiler = kwargs.get("profiler")
    # one given by name would print its report, or write it elsewhere than in the run's folder
    if folder is not None and isinstance(profiler, str) and profiler.lower() in _PROFILERS:
        kwargs["profiler"] = _PROFILERS[profiler.lower()](dirpath=folder, filename=PROFILE)
    has_bar = any(isinstance(callback, ProgressBar) for callback in callbacks)
    if kwargs.get("enable_progress_bar") is None:
        kwargs["enable_progress_bar"] = has_bar or _can_draw()
    if kwargs["enable_progress_bar"] and not has_bar:
        # rich's needs ipywidgets in a notebook, and warns without
        callbacks.append(TQDMProgressBar() if is_notebook() else ProgressLine())
    if kwargs.get("enable_model_summary") is None and not any(isinstance(each, ModelSummary) for each in callbacks):
        callbacks.append(ModelLine())
        kwargs["enable_model_summary"] = False
    if kwargs.get("enable_checkpointing") is not False:
        callbacks = with_checkpoints(callbacks, folder)
    return {**kwargs, "callbacks": callbacks}


def _can_draw() -> bool:
    """Return whether somebody watches a terminal that can draw over what it shows."""
    is_dumb = os.environ.get("TERM", "").lower() in ("dumb", "unknown")
    return sys.stderr.isatty() and sys.stdout.isatty() and not is_dumb


def default_logger(folder: str | Path | None) -> CSVLogger:
    """Make a CSV logger that writes into a run's folder and never over another run's rows."""
    if folder is None or exists(joined(folder, METRICS)):
        return CSVLogger(folder or Path.cwd())
    logger = CSVLogger(folder, name="", version="")
    # Lightning warns that the folder is not empty: the run's log is in it, but no metrics.csv
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Experiment logs directory")
        _ = logger.experiment
    return logger
