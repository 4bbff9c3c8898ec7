from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lighter.files.run_folder import RunFolder, all_runs, claim, file_name, runs_of


def test_fifty_claims_at_once_get_fifty_folders(tmp_path: Path) -> None:
    with ThreadPoolExecutor(50) as pool:
        folders = list(pool.map(lambda _: claim(tmp_path, "digits").path, range(50)))
    assert len(set(folders)) == 50
    assert all(folder.is_dir() for folder in folders)


def test_runs_are_found_by_name_newest_first(tmp_path: Path) -> None:
    names = [
        "2026-01-02/10-00-00-digits",
        "2026-01-02/10-00-00-digits.2",
        "2026-01-02/10-00-00-digits.10",
        "2026-01-01/23-59-59-digits",
        "2026-01-03/09-00-00-other",
        "2026-01-03/notes",
    ]
    for name in names:
        (tmp_path / name).mkdir(parents=True)
    found = [str(run.path.relative_to(tmp_path)) for run in runs_of(tmp_path, "digits")]
    assert found == [names[2], names[1], names[0], names[3]]


@pytest.mark.parametrize("names", [("a", "b", "c"), ("c", "a", "b"), ("b", "b.2", "a")])
def test_runs_of_one_second_are_sorted_by_when_they_began(names: tuple[str, ...], tmp_path: Path) -> None:
    for number, name in enumerate(names):
        folder = RunFolder(tmp_path / "2026-11-22" / f"10-00-00-{name}")
        folder.path.mkdir(parents=True)
        folder.config.touch()
        os.utime(folder.config, ns=(number, number))
    assert [run.path.name.removeprefix("10-00-00-") for run in all_runs(tmp_path)] == list(reversed(names))


def test_other_ranks_get_the_folder_of_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = claim(tmp_path, "x")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert claim(tmp_path, "x").path == first.path.absolute()
    assert len(os.listdir(first.path.parent)) == 1


@pytest.mark.parametrize(
    ("name", "expected"), [("digits", "digits"), ("a/../b c", "a-b-c"), ("...", "run"), ("é_1-2", "é_1-2")]
)
def test_names_are_safe_as_folders(name: str, expected: str) -> None:
    assert file_name(name) == expected


def test_a_run_that_did_not_start_leaves_nothing_of_its_own(tmp_path: Path) -> None:
    folder = claim(tmp_path, "x")
    folder.log.write_text("nothing")
    folder.abandon()
    assert list(tmp_path.iterdir()) == []
    kept = claim(tmp_path, "x")
    (kept.path / "of the user.txt").touch()
    kept.abandon()
    assert kept.path.is_dir()
    RunFolder(tmp_path / "never there").abandon()


def test_ranks_that_torchrun_started_make_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LIGHTER_RUN_FOLDER", raising=False)
    monkeypatch.setenv("RANK", "1")
    assert not claim(tmp_path, "x").path.exists()
    assert list(tmp_path.iterdir()) == []
