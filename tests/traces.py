"""What a test may change in its process, and has to put back: looked at after each test by a fixture in `conftest.py`.

A trace makes another test fail that passes alone, and which one depends on how tests are spread over processes.
"""

from __future__ import annotations

import gc
import inspect
import logging
import os
import random
import resource
import signal
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import lighter.engine
from lighter.config.safe import guard

STAND_IN = Path(lighter.engine.__file__).parent / "project_path"  # of the package `project`
# torch sets a handler for SIGCHLD once in a process, with the first worker of a dataloader, and counts on it
SIGNALS = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD})
OF_IMPORTS = {  # variables that torch and Lightning set when they are imported
    *("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "KMP_INIT_AT_FORK", "KMP_DUPLICATE_LIB_OK"),
    *("PYTORCH_NVML_BASED_CUDA_CHECK", "PYTEST_CURRENT_TEST", "LIGHTER_LIGHTNING_ALIAS"),
}
OF_RUNS = (  # variables that a run sets for the processes that it starts, and leaves
    *("LIGHTER_PROJECT", "LIGHTER_RUN_FOLDER", "LIGHTER_GOES_ON"),
    *("PL_GLOBAL_SEED", "PL_SEED_WORKERS", "CUBLAS_WORKSPACE_CONFIG"),
)
UNTOUCHED: tuple[list[logging.Handler], int, bool, bool] = ([], logging.NOTSET, True, False)  # a logger as it is made
AUDIT_HOOKS: list[Any] = []  # that were added since the tests began: Python neither lists nor removes them


def _note_audit_hooks(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "sys.addaudithook":
        AUDIT_HOOKS.append(arguments)


with guard.writes_only_in([]):  # its hook stays, from the first safe run of a process on
    pass
sys.addaudithook(_note_audit_hooks)


@dataclass(frozen=True)
class Trace:
    """A state of the process: how it is read, and set again. Of torch's only where torch is loaded."""

    name: str
    read: Callable[[], Any]
    restore: Callable[[Any], object]
    of_torch: bool = False
    of_imports: bool = False  # a module may do the same when it is first imported


def _loggers() -> dict[str, tuple[list[logging.Handler], int, bool, bool]]:
    found = {name: one for name, one in logging.root.manager.loggerDict.items() if isinstance(one, logging.Logger)}
    own = {"": logging.root, **{name: one for name, one in found.items() if name.startswith(("lighter", "pytorch_l"))}}
    states = {name: (list(one.handlers), one.level, one.propagate, one.disabled) for name, one in own.items()}
    # A logger that code has only asked for is as good as none.
    return {name: state for name, state in states.items() if state != UNTOUCHED}


def _restore_loggers(before: dict[str, tuple[list[logging.Handler], int, bool, bool]]) -> None:
    for name in _loggers() | before:
        handlers, level, propagate, disabled = before.get(name, UNTOUCHED)
        logger = logging.getLogger(name)
        logger.handlers[:], logger.propagate, logger.disabled = handlers, propagate, disabled
        logger.setLevel(level)


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in OF_IMPORTS}


def _restore_environment(before: dict[str, str]) -> None:
    for name in _environment().keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


def _cudnn() -> tuple[bool, ...]:
    import torch

    cudnn = torch.backends.cudnn
    return cudnn.enabled, cudnn.benchmark, cudnn.deterministic


def _restore_cudnn(before: tuple[bool, ...]) -> None:
    import torch

    cudnn = torch.backends.cudnn
    cudnn.enabled, cudnn.benchmark, cudnn.deterministic = before


def _deterministic() -> tuple[int, bool]:
    import torch
    import torch.utils.deterministic

    return torch.get_deterministic_debug_mode(), torch.utils.deterministic.fill_uninitialized_memory


def _restore_deterministic(before: tuple[int, bool]) -> None:
    import torch
    import torch.utils.deterministic

    torch.set_deterministic_debug_mode(before[0])
    torch.utils.deterministic.fill_uninitialized_memory = before[1]


def _excepthook() -> Any:
    """The hook, without what torch puts around it with each process group, for good."""
    hook = sys.excepthook
    while hook.__name__ == "_distributed_excepthook":
        hook = inspect.getclosurevars(hook).nonlocals["old_hook"]
    return hook


def _torch(name: str) -> Any:
    """A function of torch, found when it is called: tests of the config never load torch."""
    return lambda *values: getattr(sys.modules["torch"], name)(*values)


def _process_group() -> bool:
    distributed = sys.modules["torch"].distributed
    return distributed.is_available() and distributed.is_initialized()


TRACES = (
    Trace("the working directory", os.getcwd, os.chdir),
    Trace("sys.path", lambda: list(sys.path), lambda before: sys.path.__setitem__(slice(None), before)),
    Trace("os.environ", _environment, _restore_environment),
    Trace(
        "signal handlers",
        lambda: [(number, signal.getsignal(number)) for number in SIGNALS],
        lambda before: [signal.signal(*one) for one in before if one[1] is not None],
    ),
    Trace(
        "warning filters",
        lambda: list(warnings.filters),
        lambda before: warnings.filters.__setitem__(slice(None), before),
        of_imports=True,
    ),
    Trace("loggers", _loggers, _restore_loggers, of_imports=True),
    Trace("sys.excepthook", _excepthook, lambda before: setattr(sys, "excepthook", before)),
    Trace("threading.excepthook", lambda: threading.excepthook, lambda it: setattr(threading, "excepthook", it)),
    Trace("sys.unraisablehook", lambda: sys.unraisablehook, lambda it: setattr(sys, "unraisablehook", it)),
    Trace(
        "audit hooks",
        AUDIT_HOOKS.copy,
        lambda before: AUDIT_HOOKS.__setitem__(slice(None), before),
        of_imports=True,  # filelock adds one from Python 3.12 on
    ),
    Trace("the garbage collector", gc.isenabled, lambda before: gc.enable() if before else gc.disable()),
    Trace("gc.callbacks", lambda: list(gc.callbacks), lambda before: gc.callbacks.__setitem__(slice(None), before)),
    Trace("tempfile.tempdir", lambda: tempfile.tempdir, lambda before: setattr(tempfile, "tempdir", before)),
    Trace(
        "the limit of file sizes",
        lambda: resource.getrlimit(resource.RLIMIT_FSIZE),
        lambda before: resource.setrlimit(resource.RLIMIT_FSIZE, before),
    ),
    Trace("deterministic algorithms", _deterministic, _restore_deterministic, of_torch=True),
    Trace("cuDNN's flags", _cudnn, _restore_cudnn, of_torch=True),
    Trace("the default dtype", _torch("get_default_dtype"), _torch("set_default_dtype"), of_torch=True),
    Trace("the default device", _torch("get_default_device"), _torch("set_default_device"), of_torch=True),
    Trace("the number of threads", _torch("get_num_threads"), _torch("set_num_threads"), of_torch=True),
    Trace("gradients", _torch("is_grad_enabled"), _torch("set_grad_enabled"), of_torch=True),
    Trace("anomaly detection", _torch("is_anomaly_enabled"), _torch("set_anomaly_enabled"), of_torch=True),
    Trace(
        "the precision of products",
        _torch("get_float32_matmul_precision"),
        _torch("set_float32_matmul_precision"),
        of_torch=True,
    ),
    Trace(
        "a process group",
        _process_group,
        lambda before: sys.modules["torch"].distributed.destroy_process_group(),
        of_torch=True,
    ),
)


MODULES = "modules"


def take() -> dict[str, Any]:
    """All states as they are."""
    has_torch = "torch" in sys.modules
    states = {trace.name: trace.read() for trace in TRACES if has_torch or not trace.of_torch}
    return {**states, MODULES: len(sys.modules)}


def put_back(before: dict[str, Any]) -> list[str]:
    """Set what is otherwise as it was; return what that was, a line each."""
    imported = len(sys.modules) != before[MODULES]
    traces = [trace for trace in TRACES if trace.name in before and not (imported and trace.of_imports)]
    different = [(trace, now) for trace in traces if (now := trace.read()) != before[trace.name]]
    for trace, _ in different:
        trace.restore(before[trace.name])
    return [f"{trace.name}: {_changes(before[trace.name], now)}" for trace, now in different]


def _changes(before: Any, now: Any) -> str:
    if isinstance(before, dict):
        names = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
        return ", ".join(f"{name} was {before.get(name)!r}, is {now.get(name)!r}" for name in names)
    if isinstance(before, list):
        return f"{[one for one in before if one not in now]} went, {[one for one in now if one not in before]} came"
    return f"was {before!r}, is {now!r}"


def forget_runs(folder: Path, environment: Mapping[str, str], modules: Mapping[str, ModuleType]) -> None:
    """Take back what runs in a folder set for the life of their process, which is that of all tests here.

    Args:
        environment: the variables before them.
        modules: those that were imported before them. Only others are looked at: to read `__file__` of the thousands
            that are imported takes longer than many a test.
    """
    folders = (folder, STAND_IN)
    sys.path[:] = [entry for entry in sys.path if not any(Path(entry).is_relative_to(one) for one in folders)]
    for name in OF_RUNS:
        os.environ.pop(name, None)
        os.environ.update({name: environment[name]} if name in environment else {})
    starts = tuple(f"{one}{os.sep}" for one in folders)
    new = [name for name, module in sys.modules.items() if modules.get(name) is not module]
    if "project" in sys.modules:  # the stand-in, which shared fixtures import too
        new = list({*new, *(name for name in sys.modules if name.partition(".")[0] == "project")})
    for name in new:
        file = getattr(sys.modules[name], "__file__", None)
        if isinstance(file, str) and file.startswith(starts):
            del sys.modules[name]


def forget_variables() -> None:
    """Begin without the variables that runs of shared fixtures left: forked processes would join such a run."""
    for name in OF_RUNS:
        os.environ.pop(name, None)


def seed() -> None:
    """Begin with the same random numbers in whatever order tests run; those that they draw are no trace."""
    random.seed(0)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(0)
    if "torch" in sys.modules:
        torch = sys.modules["torch"]
        torch.default_generator.manual_seed(0)
        if torch.cuda.is_initialized():  # `torch.manual_seed` notes the whole stack for later, in a millisecond
            torch.cuda.manual_seed_all(0)
