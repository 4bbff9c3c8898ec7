"""Run a command in a process of its own: its JSON is that of the command line, and its crash is its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio

from lighter.config.problems import shortened
from lighter.errors import RunError

SECONDS = 300
_MOST_OF_MESSAGES = 8000  # characters: the end says what happened
_LONGEST_WORD = 2**15  # characters, of which Linux takes 128 KB


@dataclass(frozen=True)
class Answer:
    """The exit code of a command, the JSON on its stdout, and the messages on its stderr."""

    code: int
    result: Any
    messages: str

    def public(self) -> dict[str, Any]:
        return {"ok": self.code == 0, "exit_code": self.code, "result": self.result, "messages": self.messages}


def command(*words: str) -> list[str]:
    """Return a command of Lighter's; raise `RunError` if a word can be none of a command line."""
    for word in words:
        try:
            is_wrong = b"\0" in os.fsencode(word) or len(word) > _LONGEST_WORD
        except UnicodeEncodeError:
            is_wrong = True
        if is_wrong:
            raise RunError(f"{shortened(repr(word), 60)} cannot be a word of a command")
    return [sys.executable, "-m", "lighter", *words]


async def run_command(root: Path, *words: str, seconds: float = SECONDS) -> Answer:
    """Run a command in the root folder; after so many seconds it is killed with all that it started."""
    async with await anyio.open_process(
        command(*words), stdin=subprocess.DEVNULL, cwd=root, start_new_session=True
    ) as process:
        texts = {"stdout": b"", "stderr": b""}

        async def read(name: str) -> None:
            stream = getattr(process, name)
            async for block in stream:
                texts[name] += block

        is_late = True
        with anyio.move_on_after(seconds):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(read, "stdout")
                tasks.start_soon(read, "stderr")
            await process.wait()
            is_late = False
        if is_late:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            return Answer(124, None, f"the command took more than {seconds:.0f} s, and was killed")
        return answer(process.returncode or 0, texts["stdout"], texts["stderr"])


def answer(code: int, stdout: bytes, stderr: bytes) -> Answer:
    """Return what a command said; stdout that is no JSON is a message too."""
    messages = stderr.decode(errors="replace")
    try:
        result = json.loads(stdout) if stdout.strip() else None
    except ValueError:
        result, messages = None, f"{stdout.decode(errors='replace')}{messages}"
    return Answer(code, result, messages[-_MOST_OF_MESSAGES:].strip())


def texts(option: str, values: Sequence[str]) -> list[str]:
    """Return an option once for each value."""
    return [word for value in values for word in (option, value)]
