"""A run as others see it: its record, its tags, and whether its process is still there."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lighter.errors import RunError
from lighter.run import paths
from lighter.run.disk import read_text, write_whole
from lighter.run.process import is_gone

RUNNING, FINISHED, FAILED, INTERRUPTED, LOST = STATUSES = ("running", "finished", "failed", "interrupted", "lost")


@dataclass(frozen=True)
class Run:
    """A run's folder, and what is known of it.

    Attributes:
        facts: `run.json`.
        tags: what the user wrote on it.
    """

    folder: paths.RunFolder
    facts: dict[str, Any]
    tags: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """What it is called."""
        return self.folder.id

    @property
    def status(self) -> str:
        """One of `STATUSES`; of a run on another host whose process is gone, it is still `running`."""
        return status_of(self.facts)

    @property
    def metrics(self) -> dict[str, float]:
        """The last values of the run; of one that did not come to its end, those that it logged of epochs."""
        if "metrics" in self.facts:
            return {name: float(value) for name, value in (self.facts["metrics"] or {}).items()}
        from lighter.run.curves import curves_of

        return {curve.name: curve.values[-1] for curve in curves_of(self) if "/step" not in curve.name}

    def summary(self) -> dict[str, Any]:
        """What a table of runs shows, and what the status is worked out from."""
        kept = ("name", "stage", "status", "host", "pid", "process_started", "started", "seconds", "progress", "safe")
        return {
            "id": self.id,
            **{key: self.facts.get(key) for key in kept},
            "tags": list(self.tags),
            "metrics": self.metrics,
        }


def trusted(run: Run) -> Run:
    """The same run, if its config is not a stranger's: what goes on or is repeated runs outside of safe mode.

    Raises:
        RunError: it ran in safe mode.
    """
    if run.facts.get("safe"):
        raise RunError(
            f"{run.id} ran in safe mode, and this would run its config as one that you trust. Start from what it saved:"
            f" lighter {run.facts.get('stage')} {run.folder.config} --safe --ckpt_path PATH"
        )
    return run


def status_of(facts: dict[str, Any]) -> str:
    """The status in a record; `lost` if it says that it runs, and its process is gone."""
    status = str(facts.get("status"))
    gone = status == RUNNING and is_gone(facts.get("host"), facts.get("pid"), facts.get("process_started"))
    return LOST if gone else status


def read_run(path: Path) -> Run:
    """Read a run's record.

    Raises:
        RunError: there is none, or it cannot be read.
    """
    folder = paths.RunFolder(path)
    try:
        facts = json.loads(read_text(folder.record))
        if not isinstance(facts, dict):
            raise ValueError("it is no JSON object")
    except FileNotFoundError:
        raise RunError(f"{path} has no {paths.RECORD}, so nothing is known of it as a run") from None
    except (OSError, ValueError) as error:
        raise RunError(f"{folder.record} cannot be read: {error}") from error
    return Run(folder, facts, _tags(folder))


def write_tags(folder: paths.RunFolder, tags: list[str]) -> None:
    """Write a run's tags, which are kept beside its record: a run that runs writes that one itself."""
    write_whole(folder.path / paths.TAGS, json.dumps(sorted(set(tags))) + "\n")


def _tags(folder: paths.RunFolder) -> tuple[str, ...]:
    try:
        return tuple(str(tag) for tag in json.loads(read_text(folder.path / paths.TAGS)))
    except (OSError, ValueError):
        return ()
