"""The page as a file: its policy, its bytes, its size, and what must never be in it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from pathlib import Path

import pytest

from lighter.results.report.document import document
from lighter.results.report.page import own_script, page
from lighter.results.report.subject import find_subject
from tests.results.report.jobs import data_in, evaluation, make_fit, make_search, write_evaluation

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\u2028"
TOKEN = "hf_" + "aB3dE6gH9jK2mN5pQ8sT1vW4xY7zA0cD3f"


def html(root: Path, *words: str) -> str:
    return page(document(find_subject(list(words), root)))


def test_the_policy_forbids_every_request_and_every_script_but_those_of_the_page(tmp_path: Path) -> None:
    make_fit(tmp_path)
    text = html(tmp_path)
    [policy] = re.findall(r'http-equiv="Content-Security-Policy" content="(.+?)"', text)
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert (rules["default-src"], rules["img-src"], rules["form-action"]) == ("'none'", "data:", "'none'")
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    assert rules["script-src"] == " ".join(f"'sha256-{digest}'" for digest in digests)
    assert scripts[1] == own_script()


def test_the_same_records_give_the_same_bytes(tmp_path: Path) -> None:
    make_search(tmp_path)
    run = make_fit(tmp_path, 1)
    write_evaluation(run, evaluation())
    words = ("sweep", str(run))
    assert html(tmp_path, *words) == html(tmp_path, *words)


def test_what_a_run_is_called_is_never_part_of_the_page_but_a_text_in_its_data(tmp_path: Path) -> None:
    run = make_fit(
        tmp_path, 0, name=EVIL, tags=[], error={"type": "E", "message": EVIL}, status="failed", command=[EVIL]
    )
    (run / "config.yaml").write_text(json.dumps({"seed": 1, "model": {"name": EVIL, EVIL: 1}}))
    write_evaluation(run, evaluation(classes=[EVIL, "dog"], metrics={EVIL: 0.5}))
    text = html(tmp_path)
    assert "alert(1)" in text
    assert "<img" not in text
    assert text.count("<script") == 3
    found = data_in(text)
    assert found["evaluations"][0]["classes"][0] == EVIL
    assert found["runs"][0]["error"] == f"E: {EVIL}"


def test_secrets_do_not_appear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_PASSWORD", "correct-horse-battery")
    run = make_fit(
        tmp_path,
        0,
        command=["lighter", "fit", f"model::token={TOKEN}"],
        status="failed",
        error={"type": "ValueError", "message": "login with correct-horse-battery failed"},
    )
    config = f"seed: 1\nmodel: {{api_key: sk-verysecretkey123, url: 'https://me:passw0rd1@host/x', hub: {TOKEN}}}\n"
    (run / "config.yaml").write_text(config)
    write_evaluation(run, evaluation(classes=[TOKEN, "dog"]))
    text = html(tmp_path)
    for secret in (TOKEN, "correct-horse-battery", "sk-verysecretkey123", "passw0rd1"):
        assert secret not in text


def test_half_characters_and_numbers_that_json_does_not_know_are_written(tmp_path: Path) -> None:
    run = make_fit(tmp_path, 0, metrics={"val/loss/epoch": float("nan"), "val/x/epoch": float("inf")})
    (run / "metrics.csv").write_text("epoch,step,val/loss/epoch\n0,1,nan\n1,2,inf\n2,3,0.5\n")
    found = data_in(html(tmp_path))
    assert [each["value"] for each in found["curves"]["val/loss/epoch"]] == [[None, None, 0.5]]


def test_twenty_runs_of_ten_thousand_points_are_less_than_three_megabytes(tmp_path: Path) -> None:
    for number in range(20):
        make_fit(tmp_path, number, seed=number % 5, lr=10.0 ** -(number // 5 + 1), points=10_000)
    text = html(tmp_path)
    assert len(text.encode()) < 3e6
    assert {curve["of"] for curves in data_in(text)["curves"].values() for curve in curves} == {10_000}


def test_a_page_of_a_hundred_runs_is_built_in_two_seconds(tmp_path: Path) -> None:
    for number in range(100):
        make_fit(tmp_path, number, seed=number % 5, lr=10.0 ** -(number // 25 + 1), points=50)
    begun = time.process_time()  # other processes share the machine
    html(tmp_path)
    assert time.process_time() - begun < 2
