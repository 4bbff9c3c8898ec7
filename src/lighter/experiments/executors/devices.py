"""The GPUs of this machine, shared out among workers, without importing torch."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress

from lighter.config.problems import Problem
from lighter.errors import ConfigError
from lighter.experiments.executors.settings import PATH, LocalSettings

VISIBLE = "CUDA_VISIBLE_DEVICES"


def workers_and_devices(settings: LocalSettings) -> tuple[int, list[str]]:
    """Return how many members run at once, and the value of CUDA_VISIBLE_DEVICES of each worker.

    Raises:
        ConfigError: members need more GPUs than this machine has.
    """
    if not settings.gpus:
        return settings.workers or max(cpu_count() // settings.cpus, 1), []
    visible = gpus()
    groups = [visible[start : start + settings.gpus] for start in range(0, len(visible), settings.gpus)]
    shares = [",".join(group) for group in groups if len(group) == settings.gpus] * settings.members_per_gpu
    if not shares:
        message = f"a member needs {settings.gpus} GPUs, and this machine has {len(visible)}"
        raise ConfigError([Problem(message, None, f"{PATH}::gpus")])
    return min(settings.workers or len(shares), len(shares)), shares


def cpu_count() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus() -> list[str]:
    """Return the devices that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    visible = os.environ.get(VISIBLE)
    if visible is not None:
        return [device.strip() for device in visible.split(",") if device.strip() not in ("", "-1")]
    with suppress(OSError, subprocess.SubprocessError):
        command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        return [line.strip() for line in done.stdout.splitlines() if line.strip().isdecimal()]
    return []
