from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lighter.files import partials
from lighter.files.atomic import write_whole
from lighter.files.partials import partial_of, sweep

OF_ANOTHER = "import sys; from pathlib import Path; from lighter.files.partials import partial_of\n"


def test_only_what_nobody_will_finish_is_swept(own_place: Path) -> None:
    code = OF_ANOTHER + "partial_of(Path('dead.ckpt')).touch()"
    subprocess.run([sys.executable, "-c", code], check=True)
    [dead] = own_place.iterdir()
    assert dead.name.startswith(".dead.ckpt.partial-")
    live = partial_of(Path("live.ckpt"))
    user = [".mine.ckpt.partial-4711", "last.ckpt", ".hidden", "x.ckpt.partial-1-00000000-00000000"]
    for path in (live, *map(Path, user)):
        path.touch()
    Path("folder.ckpt").mkdir()
    assert sweep(own_place) == [dead]
    assert {path.name for path in own_place.iterdir()} == {live.name, "folder.ckpt", *user}


def test_a_process_that_took_over_a_number_is_another(own_place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = partial_of(Path("last.ckpt"))
    mine.touch()
    monkeypatch.setattr(partials, "started", lambda pid: "another boot/123")
    assert sweep(own_place) == [own_place / mine.name]


def test_those_of_another_machine_are_left_for_a_day(own_place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partials.socket, "gethostname", lambda: "another")
    theirs = own_place / partial_of(Path("last.ckpt")).name
    theirs.touch()
    monkeypatch.undo()
    assert sweep(own_place) == []
    old = time.time() - 25 * 3600
    os.utime(theirs, (old, old))
    assert sweep(own_place) == [theirs]


def test_a_folder_that_is_not_there() -> None:
    assert sweep(Path("nowhere")) == []


def test_the_next_who_writes_deletes_what_a_killed_process_left(own_place: Path) -> None:
    killed = "import os, signal\n\nos.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
    code = (
        f"{killed}from pathlib import Path\nfrom lighter.files.atomic import write_whole\nwrite_whole(Path('a'), 'a')"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    assert len(list(own_place.iterdir())) == 1
    write_whole(Path("b"), "b")
    assert [path.name for path in own_place.iterdir()] == ["b"]


def test_the_error_names_the_file_that_was_to_be_written(own_place: Path) -> None:
    Path("folder/inner").mkdir(parents=True)
    for path in (Path("none/a.json"), Path("folder")):  # opened, and renamed to
        with pytest.raises(OSError) as failed:
            write_whole(path, "a")
        assert (failed.value.filename, failed.value.filename2) == (str(path), None)
