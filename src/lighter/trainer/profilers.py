"""Lightning's profilers by name, reporting into a run's folder."""

from __future__ import annotations

from pathlib import Path

from pytorch_lightning.profilers import AdvancedProfiler, Profiler, PyTorchProfiler, SimpleProfiler

from lighter.files.run_folder import PROFILE

_BY_NAME = {"simple": SimpleProfiler, "advanced": AdvancedProfiler, "pytorch": PyTorchProfiler}


def reporting_to(folder: str | Path | None, profiler: Profiler | str | None) -> Profiler | str | None:
    """Return the profiler of a name, which writes `fit-profile.txt` and the like into the folder; another as it is."""
    kind: type | None = _BY_NAME.get(profiler.lower()) if isinstance(profiler, str) else None
    return profiler if kind is None or folder is None else kind(dirpath=folder, filename=PROFILE)
