"""The handle on a run in Python, and how runs are drawn in a notebook."""

from __future__ import annotations

from pathlib import Path

import pytest

import lighter
from lighter.errors import RunError
from tests.runs.jobs import make_run

ID = "2026-01-02/10-00-00-digits"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = make_run(tmp_path, ID)
    (folder / "metrics.csv").write_text("epoch,step,val/loss/epoch,train/loss/epoch\n0,4,3.0,\n0,4,,2.0\n1,9,1.0,\n")
    return folder


def test_config_metrics_and_curves(folder: Path, tmp_path: Path) -> None:
    run = lighter.Run(folder)
    assert (run.path, run.id, run.status, run.tags) == (folder, ID, "finished", ())
    assert run.metrics == {"val/loss/epoch": 0.5}
    assert run.config == {"trainer": {"max_epochs": 3}}
    assert list(run.curves) == ["train/loss/epoch", "val/loss/epoch"]
    assert list(run.curves["val/loss/epoch"].steps) == [4, 9]
    assert run.history() == [
        {"step": 4, "train/loss/epoch": 2.0, "val/loss/epoch": 3.0},
        {"step": 9, "val/loss/epoch": 1.0},
    ]
    assert repr(run) == f"Run({str(folder)!r})"
    assert run.record["stage"] == "fit"
    assert lighter.Run("digits", tmp_path).id == lighter.Run("last", tmp_path).id == ID
    with pytest.raises(RunError, match="is called `nothing`"):
        lighter.Run("nothing", tmp_path)


def test_in_a_notebook_texts_are_escaped(tmp_path: Path) -> None:
    folder = make_run(tmp_path, ID, command=["lighter", "<script>alert(1)</script>"], status="failed",
                      error={"type": "ValueError", "message": "<b>bad</b>"})  # fmt: skip
    html = lighter.Run(folder)._repr_html_()
    assert "<script>" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "ValueError: &lt;b&gt;bad&lt;/b&gt;" in html
    assert html.count("<table") == html.count("</table>") == 1
