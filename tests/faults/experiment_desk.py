"""An experiment in a folder of its own: started, killed, resumed, and compared with one that nobody killed."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lighter.experiments.executors.base import MEMBER_LOCK
from lighter.experiments.member_files import read_members
from lighter.files.lock import LOCK
from lighter.processes.identity import started
from tests.commands import TESTS, Process
from tests.faults.outcome import Outcome, differing, outcome

JOB = Path(__file__).with_name("experiment.yaml")
COMMAND = "tests.faults.experiment_command"
COORDINATOR, MEMBER, SERVER, ALL = "the coordinator", "a member", "the fork server", "all at once"
TARGETS = (COORDINATOR, MEMBER, SERVER, ALL)
PATIENCE = 500.0  # seconds, of a loaded machine


class Desk:
    """A folder in which one experiment runs.

    Args:
        changes: overrides of the job.
        is_real: whether `lighter` starts its server as it does outside of tests, by a new process.
    """

    def __init__(self, place: Path, *changes: str, is_real: bool = False) -> None:
        self.place, self.changes, self.is_real = place.resolve(), changes, is_real
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)

    @property
    def folder(self) -> Path | None:
        """The experiment's folder; None before its config is written."""
        return next((path.parent for path in self.place.glob("outputs/experiments/*/*/config.yaml")), None)

    def homes(self) -> list[str]:
        """The names of the members' folders."""
        return sorted(path.parent.name for path in self.folder.glob("*/member.json")) if self.folder is not None else []

    def command(self, *words: str | Path) -> Process:
        """Start `lighter` here."""
        program = ["lighter"] if self.is_real else ["-m", COMMAND]
        return Process(*program, *words, cwd=self.place, environment=TESTS, output=self.place / "output.txt")

    def start(self) -> Process:
        """Begin, or resume."""
        if self.folder is None:
            return self.command("sweep", JOB, *self.changes)
        return self.command("experiment", "resume", self.folder)

    def end(self, process: Process) -> int:
        """Wait for a command; return its exit code as a shell has it, -1 if it does not end."""
        try:
            code = process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill(ALL, process, random.Random(0))
            return -1
        return code if code >= 0 else 128 - code

    @property
    def output(self) -> str:
        path = self.place / "output.txt"
        return path.read_text(errors="replace") if path.exists() else ""

    def tail(self, lines: int = 12) -> str:
        return "\n".join(self.output.strip().splitlines()[-lines:])

    # Processes

    def processes(self) -> dict[int, int]:
        """Return all processes here that live, with their parents."""
        return dict(_processes_in(self.place))

    def members(self) -> list[int]:
        """Return the processes of members: those that hold a member's lock."""
        found = []
        for lock in self.place.glob(f"outputs/experiments/*/*/*/{MEMBER_LOCK}"):
            with suppress(OSError, ValueError, KeyError):  # not signed yet, or removed
                facts = json.loads(lock.read_bytes())
                if started(facts["pid"]) == facts["process_started"]:
                    found.append(facts["pid"])
        return found

    def kill(self, target: str, coordinator: Process, moments: random.Random) -> str:
        """Kill a target by SIGKILL; return what was killed: the coordinator, if there is no such process."""
        processes, members = self.processes(), self.members()
        servers = [pid for pid in processes if pid not in members and pid != coordinator.pid]
        servers = [pid for pid in servers if processes[pid] in (coordinator.pid, 1)]
        if target == ALL:
            victims = moments.sample(sorted(processes), len(processes))
        else:
            victims = {MEMBER: sorted(members)[:1], SERVER: sorted(servers)[-1:]}.get(target, [])
        if not victims:
            target, victims = COORDINATOR, [coordinator.pid]
        for pid in victims:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if target in (COORDINATOR, ALL):
            coordinator.wait(30)
        return target

    def is_quiet(self, seconds: float = 60) -> bool:
        """Return whether all processes end by themselves within some seconds."""
        until = time.monotonic() + seconds
        while self.processes():
            if time.monotonic() > until:
                return False
            time.sleep(0.1)
        return True

    # What is there

    def torn(self) -> str:
        """Return what is wrong in the folder after a kill; nothing, it is hoped."""
        if self.folder is None:
            return ""
        try:
            members = read_members(self.folder)
        except Exception as error:  # noqa: BLE001
            return repr(error)
        failed = [f"{member.name}: {member.error}" for member in members if member.error is not None]
        return "; ".join(failed)

    def result(self) -> Result:
        assert self.folder is not None, self.output
        return Result(self.folder, self.place)


def _processes_in(place: Path) -> Iterator[tuple[int, int]]:
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, IndexError):
            if Path(os.readlink(entry / "cwd")) == place:
                fields = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
                if fields[0] != "Z":
                    yield int(entry.name), int(fields[1])


@dataclass(frozen=True)
class Result:
    """What an experiment has come to, on disk."""

    folder: Path
    desk: Path

    @cached_property
    def members(self) -> dict[str, dict[str, Any]]:
        """The content of each member's file, by the name of its folder."""
        return {path.parent.name: json.loads(path.read_text()) for path in sorted(self.folder.glob("*/member.json"))}

    @cached_property
    def outcomes(self) -> dict[str, Outcome]:
        """Checkpoints and logged rows of each member."""
        return {name: outcome(self.folder / name, self.desk) for name in self.members}

    def record(self, name: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.folder / name / "run.json").read_text())
        return content

    def leftovers(self) -> list[str]:
        """Return files that no uninterrupted experiment leaves."""
        partial = [str(path.relative_to(self.folder)) for path in self.folder.rglob("*partial*")]
        errors = [str(path.relative_to(self.folder)) for path in self.folder.rglob("error.txt")]
        locks = [str(path.relative_to(self.folder)) for path in (self.folder / LOCK,) if path.exists()]
        return [*partial, *errors, *locks]


def same(expected: Result, found: Result) -> str:
    """Return the first difference between two experiments with one worker: nothing, if the kills left no trace."""
    if expected.members.keys() != found.members.keys():
        return f"members {', '.join(found.members)}"
    for name, facts in expected.members.items():
        if facts != found.members[name]:
            return f"{name}: {found.members[name]} for {facts}"
        one, other = expected.record(name), found.record(name)
        for key in ("status", "progress", "metrics"):
            if one[key] != other[key]:
                return f"{name}: {key} {other[key]} for {one[key]}"
        whole, killed = expected.outcomes[name], found.outcomes[name]
        wrong = next(differing(_read_later(whole.checkpoints), _read_later(killed.checkpoints), ""), None)
        if wrong is not None or whole.rows != killed.rows:
            return f"{name}: {wrong or 'logged rows'}"
    return ""


def _read_later(value: Any) -> Any:
    """Leave out logged values of an epoch that is over: a fit that was stopped after it does not have them."""
    if isinstance(value, Mapping):
        return {key: _read_later(each) for key, each in value.items() if key != "logged"}
    return value


def wrong_members(expected: Result, found: Result, rungs: Sequence[int]) -> str:
    """Return what is wrong in members that need not be at the same rungs as those of whole fits."""
    if expected.members.keys() != found.members.keys():
        return f"members {', '.join(found.members)}"
    for name, facts in found.members.items():
        whole, killed = expected.outcomes[name], found.outcomes[name]
        if facts["values"] != expected.members[name]["values"]:
            return f"{name}: {facts['values']}"
        if killed.rows != whole.rows[: len(killed.rows)]:
            return f"{name}: logged rows"
        for epoch, checkpoint in killed.checkpoints.items():
            if epoch.startswith("epoch="):
                for part in ("state_dict", "optimizer_states", "global_step"):
                    wrong = next(differing(whole.checkpoints[epoch][part], checkpoint[part], ""), None)
                    if wrong is not None:
                        return f"{name}: {part} after {epoch}, {wrong}"
        why = _wrong_results(facts, found.record(name), whole, rungs)
        if why:
            return f"{name}: {why}"
    return ""


def _wrong_results(facts: dict[str, Any], record: dict[str, Any], whole: Outcome, rungs: Sequence[int]) -> str:
    losses = [float(row["val/loss/epoch"]) for row in whole.rows if "val/loss/epoch" in row]
    if sorted(facts["results"]) != [str(rung) for rung in range(facts["target"] + 1)]:
        return f"results at {sorted(facts['results'])}, and its target is {facts['target']}"
    for rung, [loss] in facts["results"].items():
        if loss != losses[rungs[int(rung)] - 1]:
            return f"{loss} at rung {rung} for {losses[rungs[int(rung)] - 1]}"
    if record["progress"]["epoch"] != rungs[facts["target"]]:
        return f"{record['progress']} at rung {facts['target']}"
    status = "finished" if facts["target"] == len(rungs) - 1 else "paused"
    return "" if record["status"] == status else f"it is {record['status']} at rung {facts['target']}"
