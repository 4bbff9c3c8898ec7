"""kill -9 of an experiment's processes at random moments, and signals, failures and damages.

`python -m tests.faults.inject_experiments`, or a part: `--only kills --rounds 10-20`, `--only stops`. A round is an
experiment that is killed up to 8 times, each time at once resumed, also while members of a killed coordinator still
run; 200 moments in all. Then it must be as one that nobody has touched: with one worker bit for bit, with two each of
its members.
"""

from __future__ import annotations

import json
import random
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch

from lighter.engine.member import run_member
from tests.commands import Process
from tests.faults.desk import inside
from tests.faults.experiment_desk import ALL, COORDINATOR, JOB, TARGETS, Desk, Result, same, wrong_members
from tests.faults.inject_full_disk import Tmpfs, a_disk
from tests.faults.table import Results, main
from tests.forks import launch

MOMENTS = 200
KILLS = 8  # of a round, at most
SPREAD = 10  # a kill comes within this part of the time of a whole experiment
SHORT = 2  # rounds
RUNGS = (1, 2, 4)
WORKERS = "experiment::executor::workers={}"
SEED = 21
TRIES, DISKS, PAIRS = 24, 10, 100  # stops, full disks, members of two processes
SIGNALS = ("SIGTERM", "SIGINT", "SIGHUP")
STOP = "stop"
FAULTS = (
    "=experiment::search::method=grid",
    "=experiment::search::schedule=none",
    "=experiment::seeds=[3]",
    "=experiment::search::trials=3",
)
DDP = (
    "trainer::devices=2",
    "trainer::strategy=ddp",
    "trainer::max_epochs=3",
    "=experiment::search::schedule={kind: asha, by: trainer::max_epochs, rungs: [1]}",
    "=experiment::seeds=[3]",
)


class References:
    """Experiments that nobody touches, which the killed ones are compared with."""

    def __init__(self, place: Path) -> None:
        begun = time.monotonic()
        self.one_worker = self._run(place / "one-worker")
        self.seconds = time.monotonic() - begun
        self.whole = self._run(place / "whole", "=experiment::search::schedule=none")

    def _run(self, place: Path, *changes: str) -> Result:
        desk = Desk(place, *changes)
        code = desk.end(desk.start())
        assert code == 0, desk.output
        assert desk.is_quiet(), desk.processes()
        return desk.result()


def kill_in_a_round(results: Results, number: int, references: References, place: Path, left: int) -> int:
    """Run an experiment and kill it, up to some times; return how often."""
    moments, workers = random.Random(number), 1 + number % 2
    desk = Desk(place, WORKERS.format(workers), is_real=number % 10 == 9)
    process, kills, log = desk.start(), 0, []
    while kills < min(KILLS, left):
        until = time.monotonic() + moments.uniform(0, references.seconds / SPREAD)
        target = moments.choice(TARGETS)
        while process.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
        if process.poll() is not None:
            if process.returncode == 0:
                break
            process = desk.start()
            continue
        killed = desk.kill(target, process, moments)
        kills += 1
        log.append(killed)
        why = desk.torn()
        case = f"round {number}, kill {kills} after {references.seconds:.0f} s of an experiment"
        results.row(f"kill -9 of {killed}: nothing is torn, no member fails").add(case, held=not why, why=why)
        if killed in (COORDINATOR, ALL):
            process = desk.start()
    code = desk.end(process)
    why = "" if code == 0 else f"exit code {code}: {desk.tail()}"
    why = why or ("" if desk.is_quiet() else f"processes are left: {desk.processes()}")
    if not why:
        found = desk.result()
        why = wrong_members(references.whole, found, RUNGS) or ", ".join(found.leftovers())
        case = f"round {number}, {workers} workers, killed: {', '.join(log)}"
        results.row("none lost, none doubled, the members bit for bit those of uninterrupted fits").add(
            case, held=not why, why=why
        )
        if workers == 1 and not why:
            why = same(references.one_worker, found)
            results.row("one worker: the same trials, results and files bit for bit").add(case, held=not why, why=why)
    else:
        results.row("it ends, and no process is left").add(f"round {number}", held=False, why=why)
    return kills


def kills(results: Results, references: References, place: Path, rounds: range) -> None:
    left = MOMENTS
    for number in rounds:
        left -= kill_in_a_round(results, number, references, place / "killed", left)
        tell(results, f"round {number}, {MOMENTS - left} kills")
        if left == 0:
            return


def tell(results: Results, what: str) -> None:
    """Say how far a long part is."""
    print(f"{what}: {len(results.broken)} broken", *results.broken[-1:], file=sys.stderr, flush=True)


def stops(results: Results, references: References, place: Path, numbers: Sequence[int]) -> None:
    """Stop an experiment at a random moment, by a signal or by `lighter experiment stop`; then resume it."""
    for number in numbers:
        moments = random.Random(SEED + number)
        how = (*SIGNALS, STOP)[number % (len(SIGNALS) + 1)]
        is_adopted = number // (len(SIGNALS) + 1) % 2 == 1
        desk = Desk(place / "stopped", WORKERS.format(1 if number % 2 else 2), is_real=number % 7 == 6)
        process = desk.start()
        time.sleep(moments.uniform(0, references.seconds / 2))
        if is_adopted and desk.folder is not None:
            desk.kill(COORDINATOR, process, moments)
            process = desk.start()
            time.sleep(moments.uniform(0, 3))
        why = stopped(desk, process, how) or _whole(references, desk, is_one=bool(number % 2))
        what = "members of a killed coordinator too" if is_adopted else "its members"
        results.row(f"{'a stop by command' if how == STOP else 'a signal'}: {what} save and end, and it resumes").add(
            f"try {number}, {how}", held=not why, why=why
        )
        tell(results, f"stop {number}, {how}")


def stopped(desk: Desk, process: Process, how: str) -> str:
    """Stop an experiment; return what is wrong after it."""
    has_config = desk.folder is not None
    if how != STOP:
        process.send_signal(getattr(signal, how))
        expected = 128 + getattr(signal, how)
    elif desk.folder is not None:
        desk.end(desk.command("experiment", "stop", desk.folder))
        expected = 0
    code = desk.end(process)
    if has_config or how != STOP:
        whole = all(run_status(desk, name) in ("paused", "finished") for name in desk.homes())
        if code != expected and not (code == 0 and whole):
            return f"exit code {code}: {desk.tail()}"
    if "Traceback" in desk.output:
        return f"a traceback: {desk.tail(40)}"
    if not desk.is_quiet(20):  # the server of a killed coordinator ends after its last member
        return f"processes are left: {desk.processes()}"
    bad = [
        f"{name} is {status}" for name in desk.homes() if (status := run_status(desk, name)) in ("running", "failed")
    ]
    return ", ".join(bad) or desk.torn()


def run_status(desk: Desk, name: str) -> str:
    path = (desk.folder or desk.place) / name / "run.json"
    return str(json.loads(path.read_text())["status"]) if path.exists() else "waiting"


def _same_results(references: References, desk: Desk, *, is_one: bool) -> str:
    """Resume an experiment after its disk was full, which may have cost rows of `metrics.csv`."""
    code = desk.end(desk.start())
    if code != 0:
        return f"exit code {code}: {desk.tail()}"
    found, expected = desk.result().members, references.one_worker.members
    failed = [f"{name}: {facts['error']}" for name, facts in found.items() if facts["error"] is not None]
    differing = [name for name in expected if is_one and found.get(name) != expected[name]]
    return ", ".join(failed + differing) or ("" if found.keys() == expected.keys() else f"members {', '.join(found)}")


def _whole(references: References, desk: Desk, *, is_one: bool) -> str:
    """Resume an experiment to its end; return what is otherwise than in one that nobody touched."""
    code = desk.end(desk.start())
    if code != 0:
        return f"exit code {code}: {desk.tail()}"
    found = desk.result()
    why = wrong_members(references.whole, found, RUNGS) or ", ".join(found.leftovers())
    return why or (same(references.one_worker, found) if is_one else "")


def mistakes(results: Results, place: Path, *, short: bool) -> None:
    """Two coordinators; members that fail or die; files that are cut off."""
    desk = Desk(place / "two", "experiment::search::trials=2", "=experiment::search::schedule=none")
    first = desk.start()
    first.wait_until(lambda: desk.homes())
    begun = len(desk.output)
    code = desk.end(desk.start())
    said = desk.output[begun:]
    row = results.row("a second coordinator says who has it, and leaves; the first one ends")
    why = "" if code not in (0, -1) and "is running" in said and "Traceback" not in said else f"{code}: {said}"
    row.add("two at once", held=not why, why=why)
    code = desk.end(first)
    row.add("the first one", held=code == 0, why=f"exit code {code}: {desk.tail()}")
    cut_off(results, desk, short=short)
    faults = Desk(place / "faults", "=experiment::search::space={model::fault: [raise, die, none]}", *FAULTS)
    code = faults.end(faults.start())
    errors = {facts["values"]["model::fault"]: facts["error"] for facts in faults.result().members.values()}
    right = "a fault of the job" in (errors.get("raise") or "") and "SIGKILL" in (errors.get("die") or "")
    right = right and errors.get("none", "") is None
    results.row("a member that raises or always dies has failed; the others end").add(
        "faults", held=right and "Traceback" not in faults.output, why=f"exit code {code}, {errors}: {faults.tail()}"
    )


def full_disk(results: Results, references: References, numbers: Sequence[int]) -> None:
    """Fill the disk at a random moment, where one can be mounted; free it once the experiment has ended; resume."""
    for number in numbers:
        moments = random.Random(SEED + number)
        with a_disk() as disk:
            if not isinstance(disk, Tmpfs):
                return
            desk = Desk(disk.folder / "full", WORKERS.format(1 + number % 2))
            process = desk.start()
            process.wait_until(lambda desk=desk: desk.homes())
            time.sleep(moments.uniform(0, references.seconds / 3))
            disk.leave(moments.choice([0, 4096, 20000]))
            code = desk.end(process)
            said, is_quiet = desk.output, desk.is_quiet()
            disk.free()
            why = "" if code == 0 or "cannot be written" in said else f"exit code {code}: {said[-1500:]}"
            why = why or ("" if is_quiet and "Traceback" not in said else f"left or a traceback: {said[-3000:]}")
            why = why or _same_results(references, desk, is_one=number % 2 == 0)
            shutil.rmtree(desk.place)
        row = results.row("a full disk: the experiment ends and says so; once there is room, it resumes")
        row.add(f"try {number}, exit code {code}", held=not why, why=why)
        tell(results, f"full disk {number}, exit code {code}")


def cut_off(results: Results, desk: Desk, *, short: bool) -> None:
    """Damage a member's file in each way, and look at the experiment and resume it."""
    assert desk.folder is not None
    path = desk.folder / desk.homes()[1] / "member.json"
    whole = path.read_bytes()
    for content in (b"", whole[:40], b"\0" * 200, b"[]", b'{"trial": 0}')[: 1 if short else None]:
        path.write_bytes(content)
        for word in ("status", "resume", "best"):
            begun = len(desk.output)
            code = desk.end(desk.command("experiment", word, desk.folder))
            said = desk.output[begun:]
            held = code not in (0, -1) and "member.json" in said and "Traceback" not in said
            results.row("a damaged member.json: an error that names it").add(
                f"{word}, {content[:20]!r}", held=held, why=f"exit code {code}: {said[-500:]}"
            )
    path.write_bytes(whole)


def pruned_ddp(results: Results, place: Path, times: int) -> None:
    """Pause members of two processes for good, and resume some of them: both processes end, each time.

    Their processes are forked from this one; a few are those of an experiment, started by Lightning.
    """
    place = place.resolve() / "ddp"
    place.mkdir()
    torch.set_num_threads(1)
    with inside(place), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number in range(times):
            ends_of_two(results, place / f"member-{number}", is_promoted=number % 5 == 0)
    of_lightning(
        results, Desk(place / "experiment", f"experiment::search::trials={1 + times // 20}", *DDP, is_real=True)
    )


def ends_of_two(results: Results, folder: Path, *, is_promoted: bool) -> None:
    folder.mkdir()
    row = results.row("a member of two processes (DDP) that pauses, or ends: both processes do, and none is left")
    starts = [(["trainer::max_epochs", 1], "paused"), (None, "finished")]
    for number, (pause, expected) in enumerate(starts[: 1 + is_promoted]):
        inputs = [str(JOB), "~experiment", *DDP[:3]]
        task = {"folder": str(folder), "inputs": inputs, "pause": pause, "cwd": str(folder.parent)}
        job = partial(_member, {**task, "environment": {}, "resumes": bool(number)})
        try:
            launch(job, 2, None)
            why = ""
        except AssertionError as error:
            why = str(error)[-800:]
        status = json.loads((folder / "run.json").read_text())["status"]
        tell(results, folder.name)
        row.add(f"{folder.name}, {expected}", held=not why and status == expected, why=f"{status}: {why}")


def _member(task: dict[str, Any]) -> None:
    raise SystemExit(run_member(task))


def of_lightning(results: Results, desk: Desk) -> None:
    row = results.row("the same in an experiment, where Lightning starts the second process")
    code = desk.end(desk.start())
    left = {} if desk.is_quiet(5) else desk.processes()
    row.add("the experiment", held=code == 0 and not left, why=f"exit code {code}, left: {left}: {desk.tail()}")
    for name, facts in desk.result().members.items():
        status = run_status(desk, name)
        log = (desk.result().folder / name / "worker.log").read_text(errors="replace")
        held = facts["error"] is None and status in ("paused", "finished") and "Traceback" not in log
        row.add(name, held=held, why=f"{status}, {facts['error']}: {log[-800:]}")


def rounds_asked(words: list[str]) -> range:
    if "--rounds" not in words:
        return range(10 * MOMENTS)
    first, _, last = words[words.index("--rounds") + 1].partition("-")
    return range(int(first), int(last or first) + 1)


def run(short: bool) -> Results:
    results = Results("Experiments")
    words = sys.argv[1:] if not short else []
    only = words[words.index("--only") + 1] if "--only" in words else None
    with tempfile.TemporaryDirectory(prefix="lighter-experiments-") as name:
        place = Path(name)
        references = cache(lambda: References(place))
        rounds = range(SHORT) if short else rounds_asked(words)
        tries, disks = ([3, 4], [0]) if short else (range(TRIES), range(DISKS))
        parts: dict[str, Callable[[], None]] = {
            "kills": lambda: kills(results, references(), place, rounds),
            "stops": lambda: stops(results, references(), place, tries),
            "disk": lambda: full_disk(results, references(), disks),
            "mistakes": lambda: mistakes(results, place, short=short),
            "ddp": lambda: pruned_ddp(results, place, 0 if short else PAIRS),
        }
        for part, call in parts.items():
            if only in (None, part):
                call()
    return results


if __name__ == "__main__":
    sys.exit(main(run))
