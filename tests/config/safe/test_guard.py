"""What is about to be written outside of a safe run's folders is refused, whichever way Python would write it."""

from __future__ import annotations

import contextlib
import importlib
import json
import multiprocessing
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lighter.config.safe import guard
from lighter.errors import SafeModeError


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """The user's folder, to which a link in the stranger's leads."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/keep.txt").write_text("mine")
    return tmp_path / "mine"


@pytest.fixture
def inside(tmp_path: Path, outside: Path) -> Iterator[Path]:
    """The stranger's folder, the only one that may be written to."""
    folder = tmp_path / "stranger"
    folder.mkdir()
    (folder / "file").write_text("theirs")
    (folder / "link").symlink_to(outside)
    (folder / "keep").symlink_to(outside / "keep.txt")
    (folder / "new").symlink_to(outside / "new.txt")
    with guard.writes_only_in([folder]):
        yield folder


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def at(folder: Path, change: Callable[[int], object]) -> None:
    with opened(folder) as descriptor:
        change(descriptor)


WRITES: dict[str, Callable[[Path], object]] = {
    "a file by its path": lambda here: (here.parent / "mine/new.txt").write_text("x"),
    "through ..": lambda here: (here / "../mine/new.txt").touch(),
    "through a link to a folder": lambda here: (here / "link/new.txt").write_bytes(b"x"),
    "through a link to a file": lambda here: (here / "keep").write_text("x"),
    "through a link to a file that is not there": lambda here: (here / "new").write_text("x"),
    "bytes for a path": lambda here: os.open(os.fsencode(here / "keep"), os.O_RDWR),
    "a descriptor": lambda here: os.open(here / "keep", os.O_WRONLY),
    "only truncated": lambda here: os.open(here / "keep", os.O_RDONLY | os.O_TRUNC),
    "a folder": lambda here: (here / "link/folder").mkdir(),
    "folders": lambda here: os.makedirs(here / "link/a/b"),
    "a folder beside a descriptor's": lambda here: at(here / "link", lambda folder: os.mkdir("a", dir_fd=folder)),
    "renamed out": lambda here: os.rename(here / "file", here / "link/new.txt"),
    "renamed in": lambda here: os.replace(here / "link/keep.txt", here / "taken"),
    "renamed by descriptors": lambda here: at(
        here / "link", lambda folder: os.rename("keep.txt", "other", src_dir_fd=folder, dst_dir_fd=folder)
    ),
    "removed": lambda here: os.remove(here / "link/keep.txt"),
    "removed by a descriptor": lambda here: at(here / "link", lambda folder: os.remove("keep.txt", dir_fd=folder)),
    "removed with all that is in it": lambda here: shutil.rmtree(here.parent / "mine"),
    "its folder removed": lambda here: os.rmdir(here.parent / "mine"),
    "a hard link out": lambda here: os.link(here / "file", here / "link/new.txt"),
    "a hard link to what is outside": lambda here: os.link(here / "link/keep.txt", here / "hard"),
    "a symbolic link out": lambda here: os.symlink("x", here / "link/new.txt"),
    "cut": lambda here: os.truncate(here / "keep", 0),
    "its mode": lambda here: os.chmod(here / "keep", 0o777),
    "its time": lambda here: os.utime(here / "keep"),
    "its owner": lambda here: os.chown(here / "keep", -1, -1),
    "copied": lambda here: shutil.copy(here / "file", here / "link"),
    "moved": lambda here: shutil.move(here / "file", here / "link"),
    "a database": lambda here: sqlite3.connect(here / "link/new.db"),
    "a temporary file elsewhere": lambda here: tempfile.mkstemp(dir=here / "link"),
}


@pytest.mark.parametrize("name", WRITES)
def test_it_is_refused(name: str, inside: Path, outside: Path) -> None:
    before = (outside / "keep.txt").stat()
    with pytest.raises(SafeModeError, match=r"safe mode does not write to .*--allow_root FOLDER"):
        WRITES[name](inside)
    assert [path.name for path in outside.iterdir()] == ["keep.txt"]
    after = (outside / "keep.txt").stat()
    assert (after.st_mode, after.st_mtime_ns, after.st_size, after.st_nlink) == (
        (before.st_mode, before.st_mtime_ns, before.st_size, before.st_nlink)
    )


def test_it_is_written_after_and_before(inside: Path, outside: Path) -> None:
    """Or the refusals prove nothing."""
    with guard.writes_only_in([inside, outside]):
        (inside / "link/new.txt").write_text("x")
    with pytest.raises(SafeModeError):
        (inside / "link/new.txt").write_text("y")


def test_what_a_run_needs_is_written(inside: Path, outside: Path) -> None:
    (inside / "folder/a").mkdir(parents=True)
    os.replace(inside / "file", inside / "folder/a/file")
    (inside / "new").unlink()  # the link, and not what it leads to
    (inside / "new").write_text("x")
    (inside / "back").symlink_to(inside / "folder")
    (inside / "back/b").write_text("x")
    shutil.rmtree(inside / "folder")
    with open(os.devnull, "w") as nowhere:
        nowhere.write("x")
    with tempfile.TemporaryDirectory() as folder, open(f"{folder}/x", "w"):
        pass
    assert multiprocessing.get_context("fork").Value("i", 3).value == 3
    assert (outside / "keep.txt").read_text() == "mine"


def test_a_pipe_is_not_waited_for(inside: Path) -> None:
    os.mkfifo(inside / "pipe")
    with pytest.raises(SafeModeError, match="no regular file"):
        (inside / "pipe").write_text("x")


def test_python_keeps_compiled_modules(
    inside: Path, outside: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nobody else writes where it does."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    with guard.writes_only_in([tmp_path]):
        (tmp_path / "modules").mkdir()
        (tmp_path / "modules/compiled_in_a_safe_run.py").write_text("x = 1")
    importlib.import_module("compiled_in_a_safe_run")
    [compiled] = (tmp_path / "modules/__pycache__").iterdir()
    with pytest.raises(SafeModeError):
        compiled.write_bytes(b"x")


def swallow(path: Path) -> None:
    """What TensorBoard's logger does with whatever fails."""
    try:
        path.write_text("x")
    except OSError as error:
        raise ValueError("you tried to log -1") from error


def test_an_error_that_a_library_makes_of_it(inside: Path) -> None:
    with pytest.raises(SafeModeError) as refused, guard.writes_only_in([inside]):
        swallow(inside / "keep")
    assert refused.value.exit_code == 2
    refused.value.filename = "keep"  # as whoever writes files may say
    assert str(refused.value).startswith("safe mode does not write to")


def test_nothing_is_left_afterwards(tmp_path: Path) -> None:
    before = dict(os.environ), tempfile.tempdir
    with guard.writes_only_in([tmp_path]):
        pass
    assert (dict(os.environ), tempfile.tempdir) == before
    (tmp_path.parent / f"{tmp_path.name}-beside").write_text("x")


def test_another_process_is_guarded_as_this_one(inside: Path, outside: Path) -> None:
    """It has this by its environment, as soon as it imports lighter."""
    code = f"import lighter\ntry: open({str(inside / 'keep')!r}, 'w')\nexcept OSError as e: print(type(e).__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "SafeModeError\n"
    assert str(inside) in json.loads(os.environ["LIGHTER_SAFE_FOLDERS"])
