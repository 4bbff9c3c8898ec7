"""Other sweeps of the job in experiment_job/, each in an environment of its own that is made on first use."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from peer import HERE, run_quietly

JOB = HERE / "experiment_job"
NEEDS = ("torch", "pytorch-lightning", "torchmetrics", "scikit-learn")


@dataclass(frozen=True)
class Peer:
    """Packages, installed on top of what the job needs, and the commands that sweep it, by the names of the sides."""

    name: str
    packages: tuple[str, ...]
    sweeps: dict[str, tuple[str, ...]]

    @property
    def python(self) -> Path:
        return HERE / ".envs" / self.name / "bin" / "python"

    def prepare(self) -> Path:
        """The interpreter of its environment. Its own packages choose versions of what they need, torch's stay.

        Raises:
            PeerError: it could not be installed.
        """
        ready = self.python.parents[1] / "ready"
        if not ready.exists():
            print(f"Installing {self.name} into {ready.parent}; this takes some minutes, once.", file=sys.stderr)
            run_quietly([sys.executable, "-m", "venv", "--clear", ready.parent])
            install = [self.python, "-m", "pip", "install", "--quiet"]
            run_quietly([*install, "--constraint", HERE.parent / "constraints.txt", *NEEDS])
            run_quietly([*install, *self.packages])
            ready.touch()
        return self.python

    def commands(self, trials: int) -> dict[str, list[str | Path]]:
        """The arguments of Python for each side, which say the number of trials as it does."""
        return {
            side: [JOB / script, *(word.format(trials=trials) for word in words)]
            for side, (script, *words) in self.sweeps.items()
        }

    def versions(self) -> str:
        """The versions of its packages, as a sentence."""
        names = [package.partition("[")[0] for package in self.packages]
        code = f"from importlib.metadata import version\nfor name in {names}: print(name, version(name))"
        done = subprocess.run([self.python, "-c", code], capture_output=True, text=True, check=True)
        return f"{', '.join(done.stdout.splitlines())}."


HYDRA = Peer(
    "hydra",
    ("hydra-core", "hydra-optuna-sweeper", "hydra-joblib-launcher"),
    {"Hydra, Optuna sweeper, joblib": ("hydra_job.py", "--multirun", "hydra.sweeper.n_trials={trials}")},
)
RAY = Peer(
    "ray",
    ("ray[tune]", "optuna"),
    {
        "Ray Tune, Optuna": ("ray_job.py", "{trials}"),
        "Ray Tune, Optuna, actors reused": ("ray_job.py", "{trials}", "reuse"),
    },
)
PEERS = (HYDRA, RAY)
