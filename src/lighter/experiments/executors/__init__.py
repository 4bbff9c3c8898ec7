"""Executors: run members in processes of this machine, by SLURM, or by Ray."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lighter.experiments.executors.settings import LocalSettings, Settings, SlurmSettings
from lighter.files.run_folder import CONFIG

if TYPE_CHECKING:
    from lighter.experiments.executors.base import Executor


def make_executor(settings: Settings, folder: Path) -> Executor:
    """Make the executor of an experiment's folder, and import no other kind: their packages are extras.

    Raises:
        ConfigError: its package is missing, or this machine has no SLURM, or too few GPUs.
    """
    if isinstance(settings, LocalSettings):
        from lighter.experiments.executors.devices import workers_and_devices
        from lighter.experiments.executors.local import LocalExecutor

        workers, devices = workers_and_devices(settings)
        return LocalExecutor(folder / CONFIG, workers, settings.cpus, devices)
    if isinstance(settings, SlurmSettings):
        from lighter.experiments.executors.slurm import SlurmExecutor

        return SlurmExecutor(settings, folder)
    from lighter.experiments.executors.ray import RayExecutor

    return RayExecutor(settings)
