"""Configs of public projects, written anew: each converts, its gaps are all listed, and `lighter check` passes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import lighter
from tests.convert.work import check, project, read, run

CONVERSIONS = {
    "LightningCLI with its script": (
        "rivers",
        ["configs/discharge.yaml", "train.py"],
        {("train.py", 14, 9, "")},
        set(),
    ),
    "Hydra": (
        "birds",
        ["configs/train.yaml", "experiment=owls", "search=rate"],
        {
            ("configs/model/perch.yaml", 4, 1, "model"),
            ("configs/experiment/owls.yaml", 8, 1, "class_names"),
        },
        {
            (None, None, None, ""),  # the script
            ("configs/trainer/usual.yaml", 1, 1, "trainer._target_"),
            ("configs/logger/csv.yaml", 4, 3, "logger.csv.name"),
            ("configs/experiment/owls.yaml", 7, 1, "tags"),
            ("configs/train.yaml", 20, 1, "train"),
            ("configs/train.yaml", 21, 1, "test"),
            ("configs/paths/usual.yaml", 4, 1, "paths.log_dir"),
            ("configs/paths/usual.yaml", 5, 1, "paths.output_dir"),
            ("configs/paths/usual.yaml", 6, 1, "paths.work_dir"),
            ("configs/extras/usual.yaml", 1, 1, "extras"),
            ("configs/hydra/usual.yaml", 3, 1, "hydra.run"),
            ("configs/search/rate.yaml", 7, 3, "hydra.mode"),
            ("configs/search/rate.yaml", 8, 3, "hydra.sweeper"),
            ("configs/search/rate.yaml", 5, 1, "optimized_metric"),
        },
    ),
    "Lighter 0.1": (
        "tissue",
        ["cells.yaml", "quick.yaml"],
        set(),
        {("cells.yaml", 4, 1, "reader"), ("cells.yaml", 39, 5, "model::optimizer::params")},
    ),
    "Lighter 0.0": (
        "scans",
        ["age.yaml", "slow.yaml"],
        {("age.yaml", 46, 3, "system::postprocessing")},
        {("age.yaml", 1, 1, "_meta_")},
    ),
}


@pytest.fixture(params=CONVERSIONS)
def conversion(request: pytest.FixtureRequest, own_place: Path) -> tuple:
    name, words, gaps, notes = CONVERSIONS[request.param]
    project(name, own_place)
    if name == "scans":
        text = Path("age.yaml").read_text().replace("project: scans", "project: .")
        Path("age.yaml").write_text(text)
    return words, gaps, notes


def test_it_converts_and_passes_the_check(conversion: tuple) -> None:
    words, gaps, notes = conversion
    data = json.loads(run("convert", *words, "--json").stdout)
    found = {(gap["file"], gap["line"], gap["column"], gap["path"] or ""): gap for gap in data["gaps"]}
    assert {place for place, gap in found.items() if gap["open"]} == gaps
    assert {place for place, gap in found.items() if not gap["open"]} == notes
    assert all(gap["found"] and gap["write"] for gap in data["gaps"])

    written = run("convert", *words, "-o", "ours.yaml")
    assert written.exit_code == (1 if gaps else 0)
    assert written.stdout == ""
    assert all(f"{file}:{line}:{column}" in written.stderr for file, line, column, _ in gaps | notes if file)
    assert written.stderr.endswith("Now: lighter check ours.yaml\n")
    text = Path("ours.yaml").read_text()
    assert text == data["text"]
    head = text[: text.index("\n\n")]
    assert all(f"{file}:{line}:{column}" in head for file, line, column, _ in gaps)
    assert read(text).plain() == data["config"]
    assert check("ours.yaml") == ""


def test_without_its_script_lightning_cli_leaves_the_classes_open(own_place: Path) -> None:
    project("rivers", own_place)
    result = run("convert", "configs/discharge.yaml", "-o", "ours.yaml")
    assert result.exit_code == 1
    for place in ("configs/discharge.yaml:34:1: model", "configs/discharge.yaml:43:1: data"):
        assert place in result.stderr
    assert "link_arguments" in result.stderr
    filled = Path("ours.yaml").read_text()
    for name in ("rivers.module.Forecast", "rivers.module.Daily"):
        filled = filled.replace("_target_: WRITE.THE.CLASS", f"_target_: {name}", 1)
    Path("ours.yaml").write_text(filled)
    assert check("ours.yaml") == ""


def test_the_converted_configs_fit(conversion: tuple) -> None:
    words, _, _ = conversion
    run("convert", *words, "-o", "ours.yaml")
    short = ["trainer::fast_dev_run=true", "~trainer::callbacks", "trainer::logger=false"]
    runner = lighter.Runner()
    runner.run("fit", ["ours.yaml", *short])
    assert runner.outcome.trainer.global_step == 1
