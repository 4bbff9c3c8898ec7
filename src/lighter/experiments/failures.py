"""Why members of an experiment failed: each error once, with the members that it stopped."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lighter.experiments.executors.base import ERROR, WORKER_LOG
from lighter.experiments.trials import FAILED, Member

_PLACE = re.compile(r"\S+:\d+:\d+: ")  # of a problem of the config, whose path is as long as a line


@dataclass(frozen=True)
class Failure:
    """One error.

    Attributes:
        members: those that failed of it, in their order.
        text: of the first of them, whole.
    """

    members: tuple[Member, ...]
    text: str

    def file(self, experiment: Path) -> Path:
        """Return the file of the first member that says most of it."""
        home = experiment / self.members[0].name
        return next((home / name for name in (ERROR, WORKER_LOG) if (home / name).is_file()), home)


def failures(members: Sequence[Member]) -> list[Failure]:
    """Return the errors of the members that failed, the first one first."""
    found: dict[str, list[Member]] = {}
    for member in members:
        if member.status == FAILED:
            # an error that names the member's own files is that of others too
            found.setdefault((member.error or "").strip().replace(member.name, ""), []).append(member)
    return [Failure(tuple(each), (each[0].error or "").strip()) for each in found.values()]


def first_line(text: str) -> str:
    """Return the first line of an error, without the place in the config that it begins with."""
    return _PLACE.sub("", text.strip().partition("\n")[0], count=1)
