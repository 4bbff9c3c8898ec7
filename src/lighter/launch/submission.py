"""Submit functions as jobs of SLURM, through submitit: how settings become options of sbatch, for all that submits."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lighter.config.problems import Problem
from lighter.errors import ConfigError
from lighter.files.run_folder import JOBS
from lighter.launch.job import SIGNAL
from lighter.launch.settings import JobSettings

if TYPE_CHECKING:
    from submitit import SlurmExecutor

FOLDER = JOBS
"""The folder in a run's or an experiment's with scripts and logs of its jobs."""
MOST_IN_ARRAY = 1000  # SLURM's MaxArraySize is 1001 by default


def require(path: str, instead: str) -> None:
    """See that jobs can be submitted here.

    Args:
        path: of the config, that asks for it.
        instead: what else the user can do on this machine.

    Raises:
        ConfigError: submitit is missing, or SLURM.
    """
    try:
        import submitit  # noqa: F401
    except ImportError as error:
        message = "SLURM needs submitit: pip install 'lighter[slurm]'"
        raise ConfigError([Problem(message, None, path)]) from error
    if shutil.which("sbatch") is None or shutil.which("srun") is None:
        raise ConfigError([Problem("this machine has no SLURM: `sbatch` is not on the PATH", None, path, instead)])


def submitter(folder: Path, settings: JobSettings, name: str, *, requeue: bool) -> SlurmExecutor:
    """Return submitit's executor for jobs with these settings, which writes its files into a folder.

    Args:
        requeue: whether SLURM may requeue the jobs by itself: when a node fails, and at a preemption.
    """
    from submitit import SlurmExecutor

    executor = SlurmExecutor(folder)
    executor.update_parameters(**_parameters(settings, name, requeue=requeue))
    return executor


def _parameters(asked: JobSettings, name: str, *, requeue: bool) -> dict[str, Any]:
    signalled = f"{SIGNAL.name.removeprefix('SIG')}@{_notice(asked)}"
    known = {
        "job_name": name,
        "cpus_per_task": asked.cpus,
        # a step does not inherit it from its job
        "srun_args": [f"--cpus-per-task={asked.cpus}"],
        "gpus_per_node": asked.gpus or None,
        # rounded up, as 0 is all that a node has
        "mem": f"{-(-asked.memory // 2**20)}M" if asked.memory is not None else None,
        "nodes": asked.nodes,
        "ntasks_per_node": asked.tasks if asked.nodes * asked.tasks > 1 else None,
        "partition": asked.partition,
        "account": asked.account,
        "qos": asked.qos,
        "constraint": asked.constraint,
        "gres": asked.gres,
        "setup": list(asked.setup) or None,
        "stderr_to_stdout": True,
        "array_parallelism": MOST_IN_ARRAY,
        "additional_parameters": {
            "signal": signalled,
            "requeue" if requeue else "no-requeue": True,
            **asked.options,
        },
    }
    # submitit has defaults of its own for these two: five minutes, and a key that a cluster may refuse
    return {key: value for key, value in known.items() if value is not None} | {"time": asked.time, "wckey": None}


def _notice(asked: JobSettings) -> int:
    # never most of the time itself
    return asked.notice if asked.time is None else min(asked.notice, max(asked.time * 60 // 4, 1))


@contextlib.contextmanager
def submitting() -> Iterator[None]:
    """Leave out, while jobs are submitted, the variables of a job that this process may be in, and submitit's prints.

    sbatch takes such variables for options; submitit prints what it raises too.
    """
    from submitit.helpers import clean_env

    settings = os.environ.get("SLURM_CONF")
    with clean_env(), contextlib.redirect_stderr(io.StringIO()):
        if settings is not None:  # it says where the controller is
            os.environ["SLURM_CONF"] = settings
        yield
