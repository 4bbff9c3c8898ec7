"""Pairs of commands started at once, and owners that are killed: one process at a time has a run's folder.

A warm process forks the commands, so that both of a pair start within a millisecond. `python -m
tests.faults.inject_pairs` starts each kind of pair 50 times, and kills 20 owners whose workers live on; `--short` does
two of each.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from tests.faults.inject_signals import Command, a_desk
from tests.faults.table import Results, main

SECONDS = 0.05  # for each step, so that one of a pair is still at it when the other one comes
BEGUN = {"fit": "checkpoints/last.ckpt", "predict": "rows.partial.csv"}
RESULT = {"fit": "metrics.csv", "predict": "rows.csv"}


class Pair(NamedTuple):
    """Two commands that are started at once.

    Attributes:
        stage: of the run that was killed before; None if there was none.
        first: the words of one of them.
        second: those of the other.
        wrong: says what is not as it should be.
    """

    stage: str | None
    first: Sequence[str]
    second: Sequence[str]
    wrong: Callable[[Path, Sequence[Command], Sequence[int]], str]


def runs(desk: Path) -> list[Path]:
    return sorted(desk.glob("outputs/*-*-*/*"))


def record(run: Path) -> dict[str, Any]:
    return json.loads((run / "run.json").read_text())


@contextmanager
def killed(stage: str | None, *, workers: int = 0) -> Iterator[tuple[Path, list[int]]]:
    """A run that was killed in its midst, with something to go on from; and its workers, which live on."""
    with a_desk(seconds=SECONDS, workers=workers) as desk:
        children: list[int] = []
        if stage is not None:
            command = Command(desk, stage, "job.yaml")
            begun = lambda: any(path.stat().st_size for path in desk.glob(f"outputs/*/*/{BEGUN[stage]}"))  # noqa: E731
            command.wait_until(begun)
            there = Path(f"/proc/{command.pid}/task/{command.pid}/children").read_text()
            children = [int(pid) for pid in there.split()]
            command.send("SIGKILL")
            command.code()
        yield desk, children


@cache
def reference(stage: str) -> bytes:
    """What a run comes to that nobody disturbs."""
    with a_desk(seconds=0) as desk:
        command = Command(desk, stage, "job.yaml")
        assert command.code() == 0, command.said()
        return (runs(desk)[0] / RESULT[stage]).read_bytes()


def one_goes_on(stage: str, late: str) -> Callable[[Path, Sequence[Command], Sequence[int]], str]:
    """One command ends as if it were alone, the other one is refused and changes nothing.

    Args:
        late: what that says if it comes when the first is done, as on a busy machine it may.
    """

    def wrong(desk: Path, commands: Sequence[Command], codes: Sequence[int]) -> str:
        said = "\n".join(command.said() for command in commands)
        refused = [command for command, code in zip(commands, codes, strict=True) if code]
        if len(refused) != 1 or "Traceback" in said:
            return f"exit codes {codes}: {said[-1500:]}"
        if "is running (process" not in refused[0].said() and late not in refused[0].said():
            return f"the second said: {refused[0].said()[-500:]}"
        return wrong_run(desk, stage)

    return wrong


def wrong_run(desk: Path, stage: str) -> str:
    if len(runs(desk)) != 1:
        return f"{len(runs(desk))} runs"
    [run] = runs(desk)
    facts = record(run)
    if facts["status"] != "finished" or len(facts.get("starts", [])) > 1:
        return f"{facts['status']}, after {facts.get('starts')}"
    left = [path.name for path in run.iterdir() if path.name.startswith(".") or ".p" in path.name]
    same = (run / RESULT[stage]).read_bytes() == reference(stage)
    return f"left: {left}" if left else "" if same else f"{RESULT[stage]} is another"


def one_starts(desk: Path, commands: Sequence[Command], codes: Sequence[int]) -> str:
    """Neither a second run, unless the first one had ended, nor a traceback."""
    facts = sorted(map(record, runs(desk)), key=lambda one: one["started"])
    if len(facts) == 2 and facts[0]["ended"] < facts[1]["started"]:
        return ""
    return one_goes_on("fit", "-")(desk, commands, codes)


def removed_or_gone_on(desk: Path, commands: Sequence[Command], codes: Sequence[int]) -> str:
    if codes[1] == 0 and not runs(desk):
        return "Traceback" if "Traceback" in commands[0].said() else ""
    return one_goes_on("fit", "-")(desk, commands, codes)


def both_tags(desk: Path, commands: Sequence[Command], codes: Sequence[int]) -> str:
    tags = json.loads((runs(desk)[0] / "tags.json").read_text())
    return "" if (tags, [*codes]) == (["a", "b"], [0, 0]) else f"{tags}, {codes}"


def one_file(desk: Path, commands: Sequence[Command], codes: Sequence[int]) -> str:
    """Two runs that write one file: the first has it, and the second is told."""
    said = "\n".join(command.said() for command in commands)
    if sorted(codes) != [0, 4] or "Traceback" in said or "rows.csv" not in said:
        return f"exit codes {codes}: {said[-1500:]}"
    return "" if (desk / "rows.csv").read_bytes() == reference("predict") else "rows.csv is another"


AUTO = ("fit", "job.yaml", "--auto-resume")
SAME_FILE = ("predict", "job.yaml", "trainer::callbacks::0::path=../../../rows.csv")
PAIRS = {
    "two `resume last`: one trains": Pair(
        "fit", ("resume", "last"), ("resume", "last"), one_goes_on("fit", "is finished")
    ),
    "two `predict --resume last`: one predicts": Pair(
        "predict", ("predict", "--resume", "last"), ("predict", "--resume", "last"),
        one_goes_on("predict", "has a prediction that was stopped"),
    ),
    "two `fit --auto-resume` go on: one trains": Pair("fit", AUTO, AUTO, one_starts),
    "two `fit --auto-resume` start: one trains": Pair(None, AUTO, AUTO, one_starts),
    "`fit --auto-resume` and `resume last`: one trains": Pair(
        "fit", AUTO, ("resume", "last"), one_goes_on("fit", "is finished")
    ),
    "`resume last` and `runs rm last`: one of them": Pair(
        "fit", ("resume", "last"), ("runs", "rm", "last", "--yes"), removed_or_gone_on
    ),
    "two `runs tag last`: both tags": Pair(
        "fit", ("runs", "tag", "last", "a"), ("runs", "tag", "last", "b"), both_tags
    ),
    "two runs that write one file: one does": Pair(None, SAME_FILE, SAME_FILE, one_file),
}  # fmt: skip


def pairs(results: Results, times: int) -> None:
    for promise, pair in PAIRS.items():
        row = results.row(promise)
        for number in range(times):
            with killed(pair.stage) as (desk, _):
                commands = [
                    Command(desk, *words, said=name) for name, words in (("first", pair.first), ("second", pair.second))
                ]
                codes = [command.code() for command in commands]
                why = pair.wrong(desk, commands, codes)
            row.add(f"try {number}", held=not why, why=why)


def owners_with_workers(results: Results, times: int) -> None:
    """The lock is the killed process's, and not that of its workers, which are there for some seconds."""
    for stage, words in (("fit", ("resume", "last")), ("predict", ("predict", "--resume", "last"))):
        row = results.row(f"kill -9 of a {stage} with workers: another process has the run at once")
        for number in range(times):
            with killed(stage, workers=2) as (desk, workers):
                alive = [pid for pid in workers if Path(f"/proc/{pid}").exists()]
                command = Command(desk, *words, said="second")
                code = command.code()
                why = wrong_run(desk, stage) if code == 0 else f"exit code {code}: {command.said()[-1500:]}"
            row.add(f"try {number}", held=bool(alive) and not why, why=why or "no worker was alive")


def inject(short: bool) -> Results:
    """All of it, or a share."""
    results = Results("Two at once")
    pairs(results, 2 if short else 50)
    owners_with_workers(results, 1 if short else 10)
    return results


if __name__ == "__main__":
    sys.exit(main(inject))
