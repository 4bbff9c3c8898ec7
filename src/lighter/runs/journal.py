"""Write `run.json`, the record of a run: its command, config, code, environment, progress and outcome.

It is written before any of the user's code is imported, and again when something becomes known: the run began, an epoch
ended, the run ended or failed. That a process was killed is not written: readers find out (`read.py`). Beside it,
`events.jsonl` gets a line for each event, in their order.
"""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from lighter.config import Config, yaml
from lighter.config.load import Input
from lighter.errors import LighterError, NonFiniteError
from lighter.files import run_folder as paths
from lighter.files.atomic import append_line, write_whole
from lighter.processes.events import listening
from lighter.processes.identity import this_process
from lighter.processes.signals import Stopped
from lighter.runs import provenance
from lighter.runs.read import FAILED, FINISHED, INTERRUPTED, LOST, PENDING, RUNNING
from lighter.runs.secrets import Secrets
from lighter.runs.source import Source, source_of

log = logging.getLogger("lighter.runs")

FORMAT = 1
_RANK_ZERO_FAILS_WITHIN = 10.0  # seconds


class Journal:
    """The record of one run, as its process writes it. Processes that are not the first write nothing."""

    def __init__(self, folder: paths.RunFolder, secrets: Secrets, *, keeps_folder: bool = False) -> None:
        self.folder, self.secrets = folder, secrets
        # false if the folder of a run that did not begin is removed
        self.keeps_folder = keeps_folder
        self.ends_as = FINISHED  # if it ends well: finished, or paused
        # whether the stage runs, and whether the trainer's loops do: see `fail`
        self.has_begun = self.in_loops = False
        self.facts: dict[str, Any] = {}
        self._before: str | None = None
        self._is_launched = False  # it was submitted as a job, which begins now
        self._writes = paths.is_rank_zero()
        self._events_failed = False

    def open(self, stage: str, inputs: Sequence[Input], config: Config, arguments: Mapping[str, Any]) -> None:
        """Write the facts that are known before anything is imported."""
        # a record that is there is of a run that resumes
        with self._warning():
            self._before = self.folder.record.read_text(encoding="utf-8") if self.folder.record.is_file() else None
        now = {
            "command": provenance.command(),
            "cwd": str(Path.cwd()),
            **this_process(),
            "started": _now(),
            "overrides": provenance.overrides(inputs),
        }
        if self._before is None:
            self._open_anew(now, stage, inputs, config, arguments)
            return
        with self._warning():
            self.facts = json.loads(self._before)
            self._is_launched = self.facts["status"] == PENDING
        if self._is_launched and not self.facts["launch"].get("before"):
            self._begin_launched(now)
        else:
            self._reopen(now)

    def _open_anew(
        self, now: dict[str, Any], stage: str, inputs: Sequence[Input], config: Config, arguments: Mapping[str, Any]
    ) -> None:
        self.facts = {
            "format": FORMAT,
            "id": self.folder.id,
            "name": paths.name_of(self.folder.path),
            "stage": stage,
            "status": RUNNING,
            **now,
            "seed": config.merged.value["seed"].plain(),
            "safe": config.safe is not None,
            # taken out, as a run that this one starts repeats nothing
            "reproduces": os.environ.pop(paths.REPRODUCES, None),
            "arguments": {key: value for key, value in arguments.items() if value is not None},
        }
        self.note(inputs=lambda: provenance.files(inputs, config))
        with self._warning():
            if self._writes:
                origins = provenance.origins(config).items()
                text = self.secrets.text  # a key or the URL of a file may have one
                write_whole(self.folder.path / paths.ORIGINS, yaml.dump({text(k): text(v) for k, v in origins}))
        # git can run what the configuration of a repository says, and in safe mode this one may be theirs
        if config.safe is None:
            self.note(source=lambda: self._kept(self._source()))
        self.note(software=provenance.software, hardware=provenance.hardware)

    def _begin_launched(self, now: dict[str, Any]) -> None:
        self._before = None  # nothing has run yet
        # command, inputs and source are those of the submission; the machine is another one
        submitted = ("command", "overrides")
        self.note(**{key: value for key, value in now.items() if key not in submitted}, status=RUNNING)
        self.note(hardware=provenance.hardware)
        self._note_source()

    def _reopen(self, now: dict[str, Any]) -> None:
        # the facts about the last start are kept among the record's starts
        with self._warning():
            start = {key: self.facts.get(key) for key in (*now, "ended", "status", "error", "seconds", "checkpoint")}
            if self._is_launched:  # of the start before it was submitted
                start["status"] = self.facts["launch"].get("before")
            elif start["status"] == RUNNING:  # it was killed, and is known to have run when it last wrote
                written = self.folder.record.stat().st_mtime - _time(start["started"]).timestamp()
                start |= {"status": LOST, "seconds": round(max(written, 0.0), 1)}
            self.facts["starts"] = [*self.facts.get("starts", []), start]
            for key in ("ended", "error", "seconds"):
                self.facts.pop(key, None)
        self.note(**now, status=RUNNING)
        self._note_source()

    def _note_source(self) -> None:
        # of a start whose code may be another than that of the run
        with self._warning():
            source = self._source() if not self.facts.get("safe") else None
            before = (self.facts.get("source") or {}).get("digest")
            if source is not None and source.digest != before:
                self.note(source_of_last_start={"commit": source.commit, "digest": source.digest})

    def _source(self) -> Source | None:
        return source_of(Path.cwd(), self.secrets, without=paths.root_of(self.folder.path))

    def note(self, **facts: Any) -> None:
        """Add facts, and write. A callable is called for its value; where it fails there is a warning instead."""
        for name, value in facts.items():
            with self._warning():
                self.facts[name] = value() if callable(value) else value
        with self._warning():
            if self._writes:
                facts = _plain(self.secrets.data(self.facts), self.secrets.text)
                write_whole(self.folder.record, json.dumps(facts, indent=1, ensure_ascii=False))

    def event(self, event: str, /, **facts: Any) -> None:
        """Append an event to `events.jsonl`: one whole line, at once, also from a thread that saves."""
        if not self._writes:
            return
        try:
            data = {"time": _now(), "event": event, **_plain(self.secrets.data(facts), self.secrets.text)}
            append_line(self.folder.events, json.dumps(data, ensure_ascii=False))
        except OSError as error:
            if not self._events_failed:
                log.warning("%s cannot be written: %s", self.folder.events, error.strerror or error)
            self._events_failed = True  # said once

    def begin(self, **facts: Any) -> None:
        """Note that the stage runs now; its code is imported."""
        self.has_begun = True
        with self._warning():
            changed = self._changed_since()
            if changed:
                then = "was submitted" if self._is_launched else "began"
                log.warning("not as it was when this run %s: %s", then, ", ".join(changed))
        # the code of the first start: what a later one has changed was just told
        self.note(code=self.facts.get("code") or provenance.code, **facts)
        known = {key: self.facts.get(key) for key in ("id", "stage", "command", "seed")}
        self.event("started", **known, resumes=self._before is not None, **facts)

    def _changed_since(self) -> list[str]:
        if self._before is None and not self._is_launched:
            return []
        before, now = self.facts.get("code") or {}, provenance.code()
        changed = [f"{name} (its file changed)" for name in before if name in now and now[name] != before[name]]
        if not changed and self.facts.get("source_of_last_start"):
            changed = ["the checkout (lighter runs show has the commit of then)"]
        packages = ((self.facts.get("software") or {}).get("packages") or {}, provenance.versions(provenance.DECIDING))
        pairs = [(name, *(one.get(name) for one in packages)) for name in provenance.DECIDING]
        return [*changed, *(f"{name} ({was}, now {now})" for name, was, now in pairs if was and was != now)]

    def end(self, status: str, **facts: Any) -> None:
        seconds = round((datetime.now().astimezone() - _time(self.facts.get("started"))).total_seconds(), 1)
        self.note(status=status, ended=_now(), seconds=seconds, **facts)
        known = {key: self.facts.get(key) for key in ("progress", "metrics")}
        self.event(status, seconds=seconds, **facts, **known)

    def fail(self, error: BaseException) -> None:
        """Note that the run ended with an error, or that there was none if the config was wrong."""
        # a resume that is refused before anything was trained leaves the run as it was
        has_begun = self.has_begun if self._before is None else self.in_loops
        if isinstance(error, LighterError) and not has_begun and not self.keeps_folder:
            _wait_for_rank_zero()
            if self._before is None:
                self.folder.abandon()
            elif self._writes:
                with self._warning():
                    write_whole(self.folder.record, self._before)
                self.event(FAILED, error={"type": type(error).__name__, "message": str(error)[:2000]})
        elif isinstance(error, (KeyboardInterrupt, SystemExit)):
            how = {"type": type(error).__name__, "message": str(error)}
            self.end(INTERRUPTED, error=how, **({"signal": error.name} if isinstance(error, Stopped) else {}))
        else:
            if isinstance(error, NonFiniteError):
                self.event("diverged", message=str(error)[:2000], progress=self.facts.get("progress"))
            self.end(FAILED, error={"type": type(error).__name__, "message": str(error)[:2000]})

    def _kept(self, source: Source | None) -> dict[str, Any] | None:
        if source is None:
            return None
        if self._writes and source.patch:
            write_whole(self.folder.path / paths.PATCH, source.patch)
        for name, text in source.untracked.items() if self._writes else ():
            path = self.folder.path / paths.SOURCE / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, text)
        return {
            "root": str(source.root),
            "commit": source.commit,
            "changed": bool(source.patch),
            "untracked": sorted(source.untracked),
            "redacted": source.redacted,
            "left_out": source.left_out,
            "digest": source.digest,
        }

    @contextmanager
    def _warning(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001  a run is worth more than its record
            log.warning("the run's record is not complete: %s: %s", type(error).__name__, error)


def _wait_for_rank_zero() -> None:
    """Give the first process time for its own error: torchrun ends all once one ends, and its record would stay."""
    if "TORCHELASTIC_RUN_ID" in os.environ and not paths.is_rank_zero():
        time.sleep(_RANK_ZERO_FAILS_WITHIN)


@contextmanager
def recorded(journal: Journal) -> Iterator[Journal]:
    """Close the record at the end of a run, however it ends."""
    try:
        with listening(journal.event):
            yield journal
    except BaseException as error:
        journal.fail(error)
        raise
    journal.end(journal.ends_as)


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="milliseconds")


def _time(text: object) -> datetime:
    try:
        return datetime.fromisoformat(str(text))
    except ValueError:  # a fact that could not be recorded
        return datetime.now().astimezone()


def _plain(data: Any, text: Callable[[str], str]) -> Any:
    if isinstance(data, Mapping):
        return {str(key): _plain(value, text) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [_plain(value, text) for value in data]
    if isinstance(data, float):
        return data if math.isfinite(data) else repr(data)  # JSON has no NaN and Inf
    return data if isinstance(data, (int, bool, type(None))) else text(str(data))
