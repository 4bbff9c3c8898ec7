"""The ledger of all tries against one baseline: `BASELINE/tries/ledger.jsonl`, a line for each event, never rewritten.

opened    the metric, alpha, the seeds, and all that is frozen
begun     a try, before anything of it is trained: its number, from which follows how much evidence it needs
pair      the values of both sides with one seed
ended     the verdict, or that it failed, or that it was refused after its first fits
refused   overrides that would have changed the evaluation; nothing was trained

A try that is killed stays begun: the same overrides resume it, and until then it counts as a try.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from lighter.errors import RunError
from lighter.files.atomic import append_line, read_text, sync_folder
from lighter.files.lock import LOCK, only_one

TRIES = "tries"
LEDGER = "ledger.jsonl"
VERSION = 1
OPENED, BEGUN, PAIR, ENDED, REFUSED = "opened", "begun", "pair", "ended", "refused"


@dataclass(frozen=True)
class Pair:
    """The metric of both sides with one seed."""

    seed: int
    baseline: float
    candidate: float

    @property
    def difference(self) -> float:
        return self.candidate - self.baseline


@dataclass
class Entry:
    """A try as the ledger has it.

    Attributes:
        number: the first is 1.
        config: the hash of the candidate's config.
        level: the chance by which it may be kept without being better.
        verdict: None until it has ended.
        limit: how many pairs it had at most, when it ended.
        reason: why it ended undecided.
        error: why it failed or was refused, if it did.
    """

    number: int
    overrides: tuple[str, ...]
    config: str
    level: float
    pairs: list[Pair] = field(default_factory=list)
    verdict: str | None = None
    limit: int = 0
    reason: str = ""
    error: str | None = None
    counts: bool = True


class Ledger:
    """The ledger in a folder; only who holds its lock writes."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / LEDGER

    def locked(self, name: str) -> AbstractContextManager[None]:
        """Be the only process that tries against this baseline, which is called `name` in the message.

        Raises:
            RunError: another process does.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        return only_one(self.folder / LOCK, f"a try against {name}", "tries against one baseline take turns")

    def add(self, event: str, **facts: Any) -> None:
        """Append an event, and wait until it is on the disk."""
        when = datetime.now().astimezone().isoformat(timespec="seconds")
        append_line(self.path, json.dumps({"event": event, "time": when, **facts}))
        with open(self.path, "rb") as file:
            os.fsync(file.fileno())
        sync_folder(self.folder)

    def opened(self) -> dict[str, Any] | None:
        """Return the facts that it began with; None of a new one.

        Raises:
            RunError: it cannot be read, or is of a later version.
        """
        head = next((event for event in self._events() if event["event"] == OPENED), None)
        if head is not None and head.get("version") != VERSION:
            raise RunError(f"{self.path} is of version {head.get('version')}; this Lighter reads version {VERSION}")
        return dict(head) if head is not None else None

    def entries(self) -> list[Entry]:
        """Return all tries, by their numbers."""
        entries: dict[int, Entry] = {}
        for event in self._events():
            number = event.get("try")
            if event["event"] == BEGUN:
                facts = (tuple(event["overrides"]), event["config"], event["level"])
                entries[int(event["try"])] = Entry(int(event["try"]), *facts)
            elif number in entries:
                _apply(entries[number], event)
        return [entries[number] for number in sorted(entries)]

    def refusals(self) -> int:
        """Return how often overrides were refused."""
        return sum(event["event"] == REFUSED for event in self._events())

    def _events(self) -> Iterator[Mapping[str, Any]]:
        try:
            lines = read_text(self.path).split("\n")
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            raise RunError(f"{self.path} cannot be read: {error}") from error
        for number, line in enumerate(lines, 1):
            try:
                event = json.loads(line) if line else None
            except ValueError:
                continue  # a part of a line, of a machine that stopped: what it was to say had not begun
            if event is not None and not (isinstance(event, dict) and isinstance(event.get("event"), str)):
                raise RunError(f"{self.path}:{number} is no event of a ledger")
            if event is not None:
                yield event


def counted(entries: Sequence[Entry]) -> int:
    """Return how many tries count: all but those that changed nothing."""
    return sum(entry.counts for entry in entries)


def _apply(entry: Entry, event: Mapping[str, Any]) -> None:
    if event["event"] == PAIR:
        entry.pairs = [each for each in entry.pairs if each.seed != event["seed"]]
        entry.pairs.append(Pair(event["seed"], event["baseline"], event["candidate"]))
        entry.verdict = None  # one that had ended goes on, with more pairs
    elif event["event"] == ENDED:
        entry.verdict, entry.error = event.get("verdict"), event.get("error")
        entry.limit, entry.counts = event.get("limit", 0), event.get("counts", True)
        entry.reason = event.get("reason", "")
