"""Finding runs: the index, RUN, filters, and what two runs differ in."""

from __future__ import annotations

import json
import os
import shutil
import socket
import tracemalloc
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from lighter.errors import RunError
from lighter.files import lock
from lighter.processes.identity import is_gone, this_process
from lighter.runs import index
from lighter.runs.compare import differences
from lighter.runs.curves import curves_of, drawn
from lighter.runs.filter import best_rows, select_rows, sort_rows
from lighter.runs.index import INDEX, summaries
from lighter.runs.read import change_tags, read_run
from lighter.runs.remove import removable, remove
from lighter.runs.select import find_run
from tests.runs.jobs import make_run, make_runs
from tests.work import calls

OLD, NEW, OTHER = "2026-01-02/10-00-00-digits", "2026-01-02/10-00-01-digits", "2026-01-03/09-00-00-other"
ALL = {"where": (), "since": None, "until": None, "status": (), "stage": None, "name": None, "tags": ()}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_run(tmp_path / "runs", OLD, metrics={"val/loss/epoch": 0.2, "val/acc/epoch": 0.8})
    make_run(tmp_path / "runs", NEW, status="failed", metrics={})
    make_run(tmp_path / "runs", OTHER, name="other", stage="test", metrics={"val/loss/epoch": 0.1})
    (tmp_path / "runs" / "notes").mkdir()
    (tmp_path / "runs" / "2026-01-03" / "empty").mkdir()
    return tmp_path / "runs"


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (OLD, OLD),
        ("2026-01-03", OTHER),
        ("10-00-01", NEW),
        ("09", OTHER),
        ("last", OTHER),
        ("other", OTHER),
        (" other/", OTHER),  # as `run::name` had it
        (f"runs/{NEW}", NEW),
        (f"runs/{NEW}/config.yaml", NEW),
    ],
)
def test_a_run_is_found(root: Path, wanted: str, expected: str) -> None:
    assert find_run(wanted, root).path.resolve() == (root / expected).resolve()


def test_the_working_directory_can_be_the_run(root: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(root / NEW)
    assert find_run(".", root).id == NEW


def test_last_can_be_the_last_of_a_kind(root: Path) -> None:
    fits = lambda folder: read_run(folder.path).facts["stage"] == "fit"  # noqa: E731
    assert find_run("last", root, accepts=fits).id == NEW
    assert find_run("10-00", root, accepts=lambda folder: folder.id == OLD).id == OLD  # of two that begin so


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("10-00", f"`10-00` is the beginning of 2 runs; write more of it:\n  {NEW}\n  {OLD}"),
        ("2026-01-03/09-00-00-othr", f"is called `2026-01-03/09-00-00-othr`. Did you mean `{OTHER}`?"),
        ("zzz", f"is called `zzz`. The newest is {OTHER}; `lighter runs list` shows more."),
        ("runs/notes", "runs/notes is no run's folder: it has no run.json"),
    ],
)
def test_a_run_that_is_not_found(root: Path, wanted: str, message: str) -> None:
    with pytest.raises(RunError) as caught:
        find_run(wanted, root)
    assert str(caught.value).endswith(message)


def test_where_there_are_no_runs(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"there is no run under .*--dir FOLDER"):
        find_run("last", tmp_path / "none")
    assert summaries(tmp_path / "none") == []


def test_the_index_is_a_cache(root: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(index, "_SETTLED", -1.0)
    first = summaries(root)
    assert [row["id"] for row in first] == [OTHER, NEW, OLD]
    with monkeypatch.context() as context:
        context.setattr(index, "read_run", None)
        assert summaries(root) == first, "nothing was read again"
    change_tags(find_run(OLD, root), ["good"], [])
    assert summaries(root)[2]["tags"] == ["good"]
    for broken in ("", "{}", "[1]", '{"format": "0", "runs": {}}'):
        (root / INDEX).write_text(broken)
        assert [row["id"] for row in summaries(root)] == [OTHER, NEW, OLD]
    remove([find_run(NEW, root)])
    assert [row["id"] for row in summaries(root)] == [OTHER, OLD]
    assert NEW not in json.loads((root / INDEX).read_text().partition("\n")[2])


def test_a_record_that_changed_just_now_is_read_anew(root: Path) -> None:
    summaries(root)
    record = root / NEW / "run.json"
    times = record.parent.stat()
    record.write_text(record.read_text().replace('"failed"', '"finished"'))
    os.utime(record.parent, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert summaries(root)[1]["status"] == "finished"


@pytest.mark.slow
def test_ten_thousand_runs_are_little_work(tmp_path: Path, monkeypatch: Any) -> None:
    """Which a machine does in a fraction of a second."""
    make_runs(tmp_path, 10_000)
    monkeypatch.setattr(index, "_SETTLED", -1.0)
    assert len(summaries(tmp_path)) == 10_000
    rows: list[Any] = []

    def look() -> None:
        rows.extend(sort_rows(select_rows(summaries(tmp_path), ALL), "val/metrics/m3/epoch"))

    assert calls(look) < 100 * 10_000
    assert len(rows) == 10_000


def test_status_of_processes(tmp_path: Path) -> None:
    mine = this_process()
    assert not is_gone(mine["host"], mine["pid"], mine["process_started"])
    assert is_gone(mine["host"], mine["pid"], "another boot/123"), "another process has its number now"
    assert not is_gone("another host", mine["pid"], "x"), "nothing is known of it"
    assert is_gone(socket.gethostname(), 2**22 + 1, mine["process_started"])
    folder = make_run(tmp_path, NEW, **{**mine, "status": "running", "process_started": "x"})
    assert read_run(folder).status == "lost"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [OTHER, NEW, OLD]),
        ({"status": ("failed",)}, [NEW]),
        ({"stage": "fit"}, [NEW, OLD]),
        ({"name": "other"}, [OTHER]),
        ({"name": " other/"}, [OTHER]),
        ({"since": "2026-01-03"}, [OTHER]),
        ({"until": "2026-01-02"}, [NEW, OLD]),
        ({"where": ("val/loss/epoch<0.15",)}, [OTHER]),
        ({"where": ("val/loss/epoch >= 0.1", "val/acc/epoch=0.8")}, [OLD]),
        ({"tags": ("x",)}, []),
    ],
)
def test_filters(root: Path, options: dict[str, Any], expected: list[str]) -> None:
    assert [row["id"] for row in select_rows(summaries(root), {**ALL, **options})] == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"where": ("val/los<1",)}, "none of these runs has the metric `val/los`"),
        ({"where": ("val/loss/epoch~1",)}, "`val/loss/epoch~1` is no condition. For example: --where"),
        ({"since": "yesterday"}, "`yesterday` is no date. For example: 2026-11-22"),
    ],
)
def test_wrong_filters(root: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(RunError, match=message):
        select_rows(summaries(root), {**ALL, **options})


def test_order(root: Path) -> None:
    rows = summaries(root)
    assert [row["id"] for row in sort_rows(rows, "val/loss/epoch")] == [OTHER, OLD, NEW]
    assert [row["id"] for row in sort_rows(rows, "val/loss/epoch", reverse=True)] == [OLD, OTHER, NEW]
    best, mode = best_rows(rows, "val/loss/epoch", None)
    assert ([row["id"] for row in best], mode) == ([OTHER, OLD], "min")
    assert best_rows(rows, "val/acc/epoch", None)[1] == "max"


def test_a_running_run_is_not_removed(root: Path) -> None:
    make_run(root, "2026-01-04/10-00-00-x", **{**this_process(), "status": "running"})
    with pytest.raises(RunError, match=r"nothing is removed:\n  2026-01-04/10-00-00-x is running"):
        removable([find_run(OLD, root), find_run("2026-01-04", root)])
    remove(removable([find_run(OTHER, root), find_run("09", root)]))
    assert not (root / OTHER).exists()
    assert (root / OLD).is_dir()


@pytest.mark.parametrize(("kind", "is_removed"), [("ext4", True), ("fuse.sshfs", False)])
def test_a_run_of_another_host_is_removed_if_it_is_known_to_be_over(
    kind: str, is_removed: bool, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "mounts").write_text(f"21 1 0:20 / / rw,relatime - {kind} /dev/sda rw\n")
    monkeypatch.setattr(lock, "_MOUNTS", root / "mounts")
    folder = make_run(root, "2026-01-04/10-00-00-x", status="running", host="another", pid=7)
    with nullcontext() if is_removed else pytest.raises(RunError, match=r'write "lost" for "running" as the status'):
        remove(removable([find_run("2026-01-04", root)]))
    assert folder.exists() is not is_removed


def test_what_differs(root: Path) -> None:
    common = {"software": {"python": "3.11", "packages": {"torch": "2.13", "a": "1"}}}
    patch = "diff --git a/net.py b/net.py\n--- a/net.py\n+++ b/net.py\n@@ -1 +1 @@\n-x = 1\n+x = 2\n"
    one = make_run(root, "2026-01-05/10-00-00-a", **common, source={"root": "r", "commit": "aaa", "digest": "1"})
    other = make_run(
        root,
        "2026-01-05/10-00-00-b",
        source={"root": "r", "commit": "aaa", "digest": "2", "untracked": ["new.py"]},
        software={"python": "3.11", "packages": {"torch": "2.14", "b": "1"}},
        metrics={"val/loss/epoch": 0.25},
    )
    (other / "source.patch").write_text(patch)
    (other / "source").mkdir()
    (other / "source" / "new.py").write_text("x\n")
    (other / "config.yaml").write_text("trainer: {max_epochs: 4}\n")
    assert [tuple(difference) for difference in differences(read_run(one), read_run(other))] == [
        ("config", "trainer::max_epochs", 3, 4),
        ("code", "net.py", "as committed", "+1 -1 lines"),
        ("code", "new.py", "as committed", "1 lines, not committed"),
        ("environment", "package torch", "2.13", "2.14"),
        ("environment", "package a", "1", "-"),
        ("environment", "package b", "-", "1"),
        ("results", "val/loss/epoch", 0.5, 0.25),
    ]
    assert differences(read_run(one), read_run(one)) == []


def test_curves(root: Path) -> None:
    (root / OLD / "metrics.csv").write_text("epoch,step,b/loss,a\n0,4,3.0,\n0,9,,1\n1,14,nan,2\n")
    curves = curves_of(read_run(root / OLD))
    assert [(curve.name, [*curve.steps]) for curve in curves] == [("a", [9, 14]), ("b/loss", [4, 14])]
    assert drawn([0.0, 0.5, 1.0]) == "▁▅█"
    assert drawn([1.0] * 3) == "▁▁▁"
    assert drawn([float("nan"), 1.0, 2.0]) == "?▁█"
    assert len(drawn([float(n) for n in range(1000)])) == 48


@pytest.mark.parametrize("renamed", [OLD, "2026-01-02/other-name", "elsewhere"])
@pytest.mark.parametrize("inside", [".", "csv/version_0"])
def test_curves_of_a_copy_are_read_once(root: Path, tmp_path: Path, inside: str, renamed: str) -> None:
    folder = root / OLD / inside
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.csv").write_text("step,a\n4,1\n9,2\n")
    facts = json.loads((root / OLD / "run.json").read_text())
    facts["loggers"] = [{"class": "CSVLogger", "folder": str(folder)}]
    (root / OLD / "run.json").write_text(json.dumps(facts))
    copy = tmp_path / "copied" / renamed
    shutil.copytree(root / OLD, copy)
    (copy / inside / "metrics.csv").write_text("step,a\n4,1\n9,3\n")
    for run, values in ((root / OLD, [1, 2]), (copy, [1, 3])):
        assert [[*curve.values] for curve in curves_of(read_run(run))] == [values]
    shutil.rmtree(copy / "csv", ignore_errors=True)
    (copy / "metrics.csv").unlink(missing_ok=True)
    assert [[*curve.values] for curve in curves_of(read_run(copy))] == [[1, 2]]


@pytest.mark.slow
def test_curves_take_little_memory(root: Path) -> None:
    """A run may log for a month: the rows are not held as text, and the numbers not as objects."""
    rows = 50_000
    (root / OLD / "metrics.csv").write_text("step,a\n" + "".join(f"{n},{n * 0.123456789}\n" for n in range(rows)))
    tracemalloc.start()
    try:
        (curve,) = curves_of(read_run(root / OLD))
        drawn(curve.values)
        assert tracemalloc.get_traced_memory()[1] < 40 * rows
    finally:
        tracemalloc.stop()
    assert len(curve.values) == rows
