"""A comparison as text: table, Markdown, LaTeX, CSV, JSON, and the answers to a checklist."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import lighter
from tests.results.jobs import (
    ACCURACY,
    BASE,
    OURS,
    compared,
    make_fits,
    make_sweep,
)


def test_formats(tmp_path: Path) -> None:
    comparison = compared(tmp_path, {}, {})
    rows = list(csv.DictReader(io.StringIO(comparison.csv())))
    assert [(row["side"], row["members"], row["is_best"]) for row in rows] == [
        ("ours", "5", "True"),
        ("base", "5", "False"),
    ]
    assert float(rows[1]["low"]) < float(rows[1]["difference"]) < float(rows[1]["high"])
    data = json.loads(json.dumps(comparison.public(), allow_nan=False))
    assert (data["metric"], data["mode"], data["verdict"]) == (ACCURACY, "max", comparison.verdict)
    assert data["sides"][0]["values"] == list(OURS)
    assert data["sides"][1]["against"]["reference"] == "ours"
    html = comparison._repr_html_()
    assert html.count("<tr>") == 3
    assert "<b>" not in html or html.count("<b>") == html.count("</b>")


def test_latex_is_escaped(tmp_path: Path) -> None:
    make_fits(tmp_path, "base", BASE)
    make_fits(tmp_path, "ours", OURS, hour=11)
    latex = lighter.compare("50% of A_1=base", "ours", metric=ACCURACY, root=tmp_path).latex()
    body = [line for line in latex.splitlines() if not line.startswith("%")]
    assert body[0] == r"\begin{tabular}{lrrrrrr}"
    assert body[-1] == r"\end{tabular}"
    assert body[4].startswith(r"\textbf{ours} & 5 & \textbf{0.908 $\pm$ 0.024}")
    assert [line.count("&") for line in body[2:7] if "&" in line] == [6, 6, 6]
    assert "95\\% interval" in body[2]


def test_checklist(tmp_path: Path) -> None:
    make_sweep(tmp_path, "search", [BASE, OURS, [0.5, None, 0.5, 0.5, 0.5]])
    make_fits(tmp_path, "early", BASE[:2], status="failed")
    text = lighter.compare("search", root=tmp_path).checklist()
    assert "- Members: trial 1: lr=0.01: 5 (5 seeds), trial 0: lr=0.1: 5 (5 seeds)." in text
    assert "- 10 runs on: AMD EPYC, 1 thread, 2 CPU cores, 23.5 GB of memory." in text
    assert "- trial 0: lr=0.1: 1m 30s per run on average, 7m 30s for all 5." in text
    assert "- All of the experiment search: 15 runs, 1 of them failed or stopped, 0.375 device hours." in text
    assert "preliminary and failed ones too: 17 runs, 3 of them failed or stopped" in text
