"""A page that is written again while something runs, and the command."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner

from lighter.cli import cli
from lighter.processes.identity import this_process
from lighter.results.report import watch
from tests.results.report.jobs import data_in, make_fit, write_metrics


def set_facts(run: Path, **facts: object) -> None:
    record = run / "run.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), **facts}))


def test_it_is_written_until_nothing_runs_and_reloads_until_then(tmp_path: Path) -> None:
    run = make_fit(tmp_path, points=3, status="running", **this_process())
    target = tmp_path / "pages" / "report.html"
    lengths = []

    def wait(seconds: float) -> None:
        text = target.read_text(encoding="utf-8")
        assert '<meta http-equiv="refresh" content="10">' in text
        lengths.append(len(data_in(text)["curves"]["val/loss/epoch"][0]["step"]))
        write_metrics(run, 3 + len(lengths), 0.5)
        if len(lengths) == 3:
            set_facts(run, status="finished")

    sizes = list(watch.watch_page(("last",), tmp_path, target, 7.0, wait))
    assert (lengths, len(sizes)) == ([3, 4, 5], 4)
    assert 'http-equiv="refresh"' not in target.read_text(encoding="utf-8")
    assert [path.name for path in target.parent.iterdir()] == ["report.html"]


def test_a_page_that_would_be_the_same_is_not_written(tmp_path: Path) -> None:
    make_fit(tmp_path)
    target = tmp_path / "report.html"
    for _ in range(2):
        watch.write_page(watch.find_subject((), tmp_path), target)
        target.chmod(0o444)
        modified = target.stat().st_mtime_ns
    assert target.stat().st_mtime_ns == modified


@pytest.fixture
def outputs(own_place: Path) -> Path:
    make_fit(own_place / "outputs")
    return own_place


def test_the_command_writes_a_file_and_says_where(outputs: Path) -> None:
    shown = CliRunner().invoke(cli, ["report"])
    assert (shown.exit_code, shown.output) == (0, "report.html (0.4 MB)\n")
    shown = CliRunner().invoke(cli, ["report", "last", "-o", "pages/one.html", "--watch"])
    assert shown.exit_code == 0
    assert shown.output.endswith("pages/one.html (0.4 MB)\n")
    assert data_in((outputs / "pages/one.html").read_text(encoding="utf-8"))["kind"] == "run"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothing"], "no run under outputs is called `nothing`"),
        (["last", "-o", "outputs/x.html/y.html"], "outputs/x.html"),
        (["last", "-o", "outputs/x.html"], "outputs/x.html is no page of lighter report, so it is not overwritten"),
    ],
)
def test_a_mistake_is_a_message(outputs: Path, words: list[str], message: str) -> None:
    (outputs / "outputs" / "x.html").write_text("a file")
    shown = CliRunner().invoke(cli, ["report", *words])
    assert shown.exit_code != 0
    assert message in shown.output
    assert "Traceback" not in shown.output
    assert (outputs / "outputs" / "x.html").read_text() == "a file"


def said(*arguments: str) -> tuple[int, str]:
    shown = CliRunner().invoke(cli, ["report", *arguments])
    assert shown.exception is None or isinstance(shown.exception, SystemExit), shown.exception
    return shown.exit_code, shown.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-o", ""), "that is no file"),
        (("-o", "-"), "that is no file"),
        (("-o", "/proc/x/y.html"), "/proc/x/y.html cannot be written"),
        (("-o", "file/page.html"), "file/page.html cannot be written"),
        (("-o", "fifo"), "fifo is no regular file"),
        (("-o", "/dev/null"), "/dev/null is no regular file"),
        (("-o", "circle"), "circle cannot be written"),
        (("--every", "nan"), "nan is no number of seconds"),
        (("--dir", "nosuchdir"), "there is no folder nosuchdir"),
        (("--dir", "file", "last"), "there is no folder file"),
        (("--dir", "nosuchdir", "outputs/2026-11-29/10-00-00-digits"), "there is no folder nosuchdir"),
    ],
)
def test_where_no_page_can_be_is_a_mistake(outputs: Path, arguments: tuple[str, ...], message: str) -> None:
    (outputs / "file").touch()
    os.mkfifo(outputs / "fifo")
    (outputs / "circle").symlink_to("circle")
    code, text = said(*arguments)
    assert (code, message in text) == (2, True), text
    assert stat.S_ISFIFO((outputs / "fifo").stat().st_mode)
    assert (outputs / "circle").is_symlink()


def test_a_page_is_written_through_a_link(outputs: Path) -> None:
    link = outputs / "link.html"
    link.symlink_to("pages/report.html")
    for _ in range(2):
        assert said("-o", "link.html")[0] == 0
        assert link.is_symlink()
        assert "lighter-report" in (outputs / "pages" / "report.html").read_text(encoding="utf-8")


def test_a_pattern_may_be_a_path(outputs: Path) -> None:
    assert said("outputs/2026-11-29/*")[0] == 0
