"""Write a page, once or for as long as what it shows goes on; a reader finds the old page or the new one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from lighter.errors import OutputError
from lighter.files.atomic import write_whole
from lighter.results.report.document import document
from lighter.results.report.page import GENERATOR, page
from lighter.results.report.subject import Subject, find_subject

_HEAD = 2000  # characters, in which a page says what wrote it


def write_page(subject: Subject, path: Path, *, reloads: bool = False) -> int:
    """Write the page of a subject, unless the file has the same bytes; return their number.

    Raises:
        OutputError: there is something that is no such page, or nothing can be written there.
    """
    content = page(document(subject), reloads=reloads).encode()
    try:
        _write(path.resolve(), path, content)  # a link stays one
    except (OSError, RuntimeError) as error:  # RuntimeError: a circle of links
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"{path} cannot be written: {reason}", str(path)) from error
    return len(content)


def _write(target: Path, path: Path, content: bytes) -> None:
    if target.exists() and not target.is_file():
        raise OutputError(f"{path} is no regular file, so no page is written there; name another: -o FILE", str(path))
    before = target.read_bytes() if target.exists() else None
    if before and GENERATOR.encode() not in before[:_HEAD]:
        message = f"{path} is no page of lighter report, so it is not overwritten; name another file: -o FILE"
        raise OutputError(message, str(path))
    if before != content:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_whole(target, content)


def watch_page(
    words: tuple[str, ...], root: Path, path: Path, seconds: float, wait: Callable[[float], object] = time.sleep
) -> Iterator[int]:
    """Write the page again and again until nothing of it runs any more; yield its size each time."""
    while True:
        subject = find_subject(words, root)
        yield write_page(subject, path, reloads=subject.is_running)
        if not subject.is_running:
            return
        wait(seconds)
