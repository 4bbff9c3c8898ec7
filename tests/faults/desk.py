"""A job of `scenarios.yaml`, done whole, cut short and gone on with."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import yaml

from lighter import Runner
from lighter.runs.resume import fit as resume
from lighter.runs.resume.saved_state import State
from tests.commands import TESTS, Process
from tests.faults.jobs import KEEP_CUTS, SAVE_EVERY, SERVED, SIGNAL_AT
from tests.faults.outcome import Outcome, differences, outcome
from tests.forks import launch

HERE = Path(__file__).parent
JOB = str(HERE / "resume.yaml")


@dataclass(frozen=True)
class Scenario:
    """A job; what its fields mean is said in `scenarios.yaml`."""

    name: str
    config: dict[str, Any] = field(default_factory=dict)
    resume: Sequence[str] = ()
    cuts: str | None = None
    processes: int = 1
    is_exact: bool = True


def scenarios() -> dict[str, Scenario]:
    read = yaml.safe_load((HERE / "scenarios.yaml").read_text())
    return {name: Scenario(name, **(given or {})) for name, given in read.items()}


class Desk:
    """A folder in which a job is done.

    Args:
        exact: whether random numbers are ours, or Lightning's.
    """

    def __init__(self, place: Path, scenario: Scenario, exact: bool) -> None:
        place.mkdir(parents=True)
        self.place, self.scenario, self.exact = place.resolve(), scenario, exact
        self.checkpoint = ""  # the name of the one to go on from; the newest, if empty

    def inputs(self) -> list[Any]:
        """The config of the job."""
        several = {"strategy": "ddp", "devices": self.scenario.processes} if self.scenario.processes > 1 else {}
        return [JOB, self.scenario.config, {"trainer": {"exact_resume": self.exact, **several}}]

    def fit(self) -> None:
        """Begin."""
        Runner().run("fit", self.inputs())

    def go_on(self) -> None:
        """Go on. Lightning warns of what it cannot do."""
        if not self.exact:
            warnings.simplefilter("ignore")
        with self._from_checkpoint():
            Runner().resume(self.run, self.scenario.resume)

    @contextmanager
    def _from_checkpoint(self) -> Iterator[None]:
        """Go on from a certain checkpoint, as if the newer ones were damaged."""
        if not self.checkpoint:
            yield
            return
        path = self.run / "checkpoints" / self.checkpoint
        state = State(path, torch.load(path, map_location="meta", weights_only=True))
        with mock.patch.object(resume, "newest_good", return_value=state):
            yield

    def do(self, job: Callable[[], None], kill_after: float | None = None, **environment: str) -> bool:
        """Do it in processes of its own; returns whether it came to its end.

        Raises:
            AssertionError: it failed.
        """
        with inside(self.place), mock.patch.dict(os.environ, environment):
            return launch(job, self.scenario.processes, kill_after)

    def do_until(self, job: Callable[[], None], signal_at: str) -> None:
        """Do it until one of its processes gets a signal; see `jobs.SignalsItself`."""
        is_kill = signal_at.startswith("SIGKILL")
        with inside(self.place), mock.patch.dict(os.environ, {SIGNAL_AT: signal_at, SAVE_EVERY: "7"}):
            launch(job, self.scenario.processes, None, failing=is_kill, stopping=not is_kill)

    def command(self, *words: str) -> Process:
        """Start `lighter` here."""
        # as many threads as the run that it is compared with: torch may round otherwise with more
        environment = {**TESTS, "OMP_NUM_THREADS": str(torch.get_num_threads()), SAVE_EVERY: "7"}
        return Process("lighter", *words, cwd=self.place, environment=environment, output=self.place / "output.txt")

    @property
    def run(self) -> Path:
        """The folder of the run."""
        return max(self.place.glob("outputs/*/*"))

    @property
    def output(self) -> str:
        """What the processes printed."""
        return (self.place / "output.txt").read_text()

    @property
    def log(self) -> str:
        """What the run logged."""
        return (self.run / "run.log").read_text()

    @property
    def has_checkpoint(self) -> bool:
        """Whether there is anything to go on from."""
        return any(self.place.glob("outputs/*/*/checkpoints/*.ckpt"))

    @property
    def is_finished(self) -> bool:
        """Whether the run came to its end, though a kill may have come before that of its process."""
        return any(
            json.loads(file.read_text())["status"] == "finished" for file in self.place.glob("outputs/*/*/run.json")
        )

    def clear(self) -> None:
        """Begin as if nothing had been."""
        for path in self.place.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def outcome(self) -> Outcome:
        """What the job came to."""
        return outcome(self.run, self.place)


class Reference:
    """A job that is done whole, and whose folder is kept at every moment at which a checkpoint was saved."""

    def __init__(self, place: Path, scenario: Scenario, *, exact: bool) -> None:
        self.desk = Desk(place, scenario, exact)
        self.desk.do(self.desk.fit, **{KEEP_CUTS: str(self.desk.place / "cuts"), SAVE_EVERY: "1"})
        self.expected = self.desk.outcome()

    @property
    def cuts(self) -> list[Path]:
        """The run's folder as it was then, in order."""
        return in_order(self.desk.place / "cuts")

    def resume_at(self, cut: Path, checkpoint: str = "", **environment: str) -> str:
        """Go on from a cut, perhaps from a certain checkpoint; returns what is not as it should be."""
        desk, run = self.desk, self.desk.run
        shutil.rmtree(run)
        shutil.copytree(cut, run)
        for file in [*desk.place.glob(f"{SERVED}.*"), desk.place / "output.txt"]:
            file.unlink(missing_ok=True)
        desk.checkpoint = checkpoint
        newest = max((run / "checkpoints").iterdir(), key=lambda path: path.stat().st_mtime_ns)
        saved = run / "checkpoints" / checkpoint if checkpoint else newest
        loops = torch.load(saved, weights_only=True)["loops"]["fit_loop"]
        batches = int(loops["epoch_loop.batch_progress"]["total"]["processed"])
        try:
            desk.do(desk.go_on, **environment)
        except AssertionError:
            return desk.output.strip()[-300:]
        return "; ".join(differences(self.expected, desk.outcome(), from_batch=batches))


def in_order(cuts: Path) -> list[Path]:
    """What `Cuts` has kept in a folder."""
    moments = {"batch": 0, "validation": 1, "epoch": 2, "start": 3, "next": 4}
    return sorted(cuts.iterdir(), key=lambda cut: (cut.name[:3], moments[cut.name[4:]]))


@contextmanager
def inside(place: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(place)
    try:
        yield
    finally:
        os.chdir(before)
