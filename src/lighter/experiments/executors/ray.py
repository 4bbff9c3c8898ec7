"""Members as tasks of Ray, each in a process of its own.

A task's process ends with it: the next member finds no state of this one, and the memory of its GPU is free again.
Ray retries nothing, as the coordinator does that, and resumes. If the coordinator dies, Ray ends its tasks.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from lighter.config.problems import Problem
from lighter.errors import ConfigError, RunError
from lighter.experiments.executors.base import Ended, Task
from lighter.experiments.executors.process import ENTRY, run_task
from lighter.experiments.executors.settings import PATH, RaySettings
from lighter.processes.signals import STOPS

log = logging.getLogger("lighter")

_PATIENCE = 600.0  # seconds that members have to save when all are stopped
_LAST_PATIENCE = 30.0  # seconds that Ray has to end those that do not
# Read when Ray is imported. Its messages of dead workers, on stdout, say what `ended` does.
_QUIET = {"RAY_DEDUP_LOGS_SKIP_REGEX": "."}
# Of a cluster that is started here: no reports to Ray's makers; a token, which it otherwise has with a message; and its
# GPUs stay visible as they are to tasks that ask for none.
_STARTED = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}


class RayExecutor:
    """Start members as tasks of a cluster, or of one that is started here.

    Args:
        entry: the function that runs a task, `module:name`.

    Raises:
        ConfigError: Ray is missing.
    """

    def __init__(self, settings: RaySettings, entry: str = ENTRY) -> None:
        self._address = settings.address or os.environ.get("RAY_ADDRESS", "local")
        if "ray" not in sys.modules:
            for name, value in (_QUIET | (_STARTED if self._address == "local" else {})).items():
                os.environ.setdefault(name, value)
        try:
            import ray  # noqa: F401
        except ImportError as error:
            message = "Ray is missing: pip install 'lighter[ray]'"
            raise ConfigError([Problem(message, None, f"{PATH}::kind")]) from error
        self._settings, self._entry = settings, entry
        self._tasks: dict[Any, Path] = {}  # the folder of each reference
        self._stopped: list[Ended] = []
        self._is_ours = self._has_warned = False

    def __enter__(self) -> RayExecutor:
        """Connect.

        Raises:
            RunError: there is no such cluster.
        """
        import ray

        if not ray.is_initialized():
            self._is_ours = True
            with _same_handlers():
                _connect(self._address)
        return self

    def __exit__(self, *exception: object) -> None:
        import ray

        self.stop()
        if self._is_ours:
            ray.shutdown()

    def adopt(self) -> Sequence[Path]:
        return []  # Ray ends the tasks of a coordinator that is gone

    def free(self) -> int:
        limit = self._settings.workers or self._capacity()
        return max(limit - len(self._tasks), 0)

    def start(self, task: Task) -> None:
        import ray

        asked = self._settings
        environment = {"OMP_NUM_THREADS": str(max(int(asked.cpus), 1)), **task.environment}
        remote = ray.remote(max_calls=1, max_retries=0)(run_task).options(
            name=Path(task.folder).name,
            num_cpus=asked.cpus,
            num_gpus=asked.gpus,
            memory=asked.memory,
            resources=dict(asked.resources) or None,
        )
        reference = remote.remote(self._entry, replace(task, environment=environment).plain())
        self._tasks[reference] = Path(task.folder)

    def ended(self, timeout: float) -> Sequence[Ended]:
        over, self._stopped = self._stopped, []
        return over or self._wait(timeout)

    def stop(self) -> None:
        """Tell all members to save and stop, as Ctrl-C does, and at last end those that do not."""
        import ray

        for is_forced, patience in ((False, _PATIENCE), (True, _LAST_PATIENCE)):
            # once, as a second signal would end them before they have saved
            for reference in self._tasks:
                ray.cancel(reference, force=is_forced)
            until = time.monotonic() + patience
            while self._tasks and time.monotonic() < until:
                self._stopped += self._wait(1.0)

    def _wait(self, timeout: float) -> list[Ended]:
        import ray

        references = list(self._tasks)
        if not references:
            time.sleep(timeout)
            return []
        ready, _ = ray.wait(references, num_returns=1, timeout=timeout)
        if ready:  # others may have ended at the same time
            ready, _ = ray.wait(references, num_returns=len(references), timeout=0)
        return [self._outcome(reference) for reference in ready]

    def _outcome(self, reference: Any) -> Ended:
        import ray

        folder = self._tasks.pop(reference)
        try:
            code = ray.get(reference)
        except ray.exceptions.TaskCancelledError:
            return Ended(folder, "Ray: cancelled")
        except ray.exceptions.RayError as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            return Ended(folder, f"Ray: {type(error).__name__}: {lines[0] if lines else ''}")
        return Ended(folder, f"exit code {code}", code)

    def _capacity(self) -> int:
        """Return how many members the whole cluster has resources for."""
        import ray

        there = ray.cluster_resources()
        asked = self._settings
        needed = {"CPU": asked.cpus, "GPU": asked.gpus, "memory": asked.memory or 0, **asked.resources}
        shares = [there.get(name, 0.0) / amount for name, amount in needed.items() if amount]
        members = math.floor(min(shares, default=1.0) + 1e-9)
        if not members and not self._has_warned:
            self._has_warned = True
            log.warning("the Ray cluster has not what a member needs, and waits for a node that has: %s", needed)
        return max(members, 1)  # one that waits is what makes a cluster grow


def _connect(address: str) -> None:
    import ray

    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, configure_logging=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise RunError(f"Ray cannot be reached at {address}: {error}") from error


@contextmanager
def _same_handlers() -> Iterator[None]:
    # `ray.init` puts a handler of its own for SIGTERM over that of the coordinator
    before = {signum: signal.getsignal(signum) for signum in STOPS}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
