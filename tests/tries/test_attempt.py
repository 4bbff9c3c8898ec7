"""A try from overrides to its verdict, with fits that are made up: what is trained, written, refused and resumed."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from lighter.cli import cli
from lighter.config import yaml
from lighter.errors import ConfigError, LighterError, RunError
from lighter.files.run_folder import RunFolder
from lighter.runs.read import Run
from lighter.tries import attempt as module
from lighter.tries.attempt import Options, attempt
from lighter.tries.content import Content
from lighter.tries.ledger import Ledger
from lighter.tries.outcome import Outcome
from tests.results.jobs import make_fit
from tests.tries.jobs import LOSS, METRIC, SYSTEM, write_project

WORD = "system::optimizer::lr=1.0"
FIRST = 2  # the baseline has seed 1


class MadeUp:
    """Fits whose values are a function of side and seed."""

    values: Callable[[str, int], float]
    facts: dict[str, Any]
    started: list[tuple[str, int]]

    def __init__(self, name: str, folder: Path, *_: object) -> None:
        self.name, self.folder = folder.name, folder
        self.trained: list[int] = []

    def train(self, seeds: Sequence[int]) -> None:
        for seed in seeds:
            if (self.name, seed) not in MadeUp.started:
                MadeUp.started.append((self.name, seed))
                self.trained.append(seed)

    @property
    def begun(self) -> list[int]:
        return self.trained

    def value(self, seed: int) -> float:
        return MadeUp.values(self.name, seed)

    def run(self, seed: int) -> Run:
        facts = MadeUp.facts if self.name != "baseline" else {}
        return Run(RunFolder(self.folder), {"status": "finished", "metrics": {METRIC: self.value(seed)}, **facts})

    def seconds(self, seeds: Sequence[int]) -> float:
        return 10.0 * len(seeds)


def noise(side: str, seed: int) -> float:
    return 0.8 + 0.01 * math.sin(97 * seed + 31 * len(side) + 7 * int("0" + side[-1:] if side[-1:].isdigit() else "0"))


def gain(by: float) -> Callable[[str, int], float]:
    return lambda side, seed: noise(side, seed) + (by if side != "baseline" else 0)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_project(tmp_path, monkeypatch)
    monkeypatch.setattr(module, "Fits", MadeUp)
    MadeUp.started, MadeUp.facts, MadeUp.values = [], {}, gain(0.05)
    folder = tmp_path / "outputs/2026-11-29/10-00-00-base"
    metrics = {METRIC: 0.8, LOSS: 0.4, "train/loss/epoch": 0.3}
    return make_fit(folder, 0.8, config=yaml.dump(SYSTEM), metrics=metrics, code={})


def tried(run: Path, *words: str, metric: str | None = METRIC, **options: Any) -> Outcome:
    return attempt(words or (WORD,), str(run), Path("outputs"), Options(metric, **options))


def events(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "tries/ledger.jsonl").read_text().splitlines()]


def test_a_better_change(run):
    outcome = tried(run)
    data = outcome.public()
    assert (outcome.verdict, outcome.exit_code) == ("better", 0)
    assert 7 <= len(data["pairs"]) <= 9
    assert data["interval"][0] > 0
    assert data["evidence"] >= data["needed"] == pytest.approx(1000)
    assert data["changed"] == ["system::optimizer::lr"]
    assert data["cost"]["candidate_fits"] == data["cost"]["baseline_fits"] == len(data["pairs"])
    assert outcome.sentence.startswith(
        f"`{WORD}` is better than 2026-11-29/10-00-00-base: val/metrics/accuracy is higher by 0.0"
    )
    assert (
        "pairs, 16 fits in 160 s, try 1)" in outcome.sentence or "pairs, 14 fits in 140 s, try 1)" in outcome.sentence
    )
    assert [event["event"] for event in events(run)] == ["opened", "begun", *["pair"] * len(data["pairs"]), "ended"]
    assert MadeUp.started[:2] == [("baseline", FIRST), ("try-0001", FIRST)]


def test_a_worse_change_and_the_direction_of_a_loss(run):
    MadeUp.values = gain(-0.3)
    outcome = tried(run)
    assert (outcome.verdict, outcome.exit_code, len(outcome.pairs)) == ("worse", 10, 4)
    assert outcome.interval[1] < 0
    assert "is lower by 0.3" in outcome.sentence


def test_a_loss_is_better_where_it_is_lower(run):
    MadeUp.values = gain(-0.3)
    outcome = tried(run, metric=LOSS)
    assert outcome.verdict == "better"
    assert outcome.interval[1] < 0


def test_noise_is_undecided_after_few_pairs(run):
    MadeUp.values = gain(-0.004)
    outcome = tried(run)
    assert (outcome.verdict, outcome.reason, outcome.exit_code) == ("undecided", "hopeless", 11)
    assert len(outcome.pairs) < 10


def test_the_baseline_is_trained_once(run):
    tried(run)
    trained = len(MadeUp.started)
    second = tried(run, "system::optimizer::lr=2.0")
    assert second.cost.baseline_fits == 0
    assert len(MadeUp.started) == trained + len(second.pairs)
    assert (second.number, second.tries) == (2, 2)


def test_the_same_try_is_not_another_chance(run):
    MadeUp.values = gain(-0.004)
    first = tried(run)
    MadeUp.values = gain(1.0)
    again = tried(run)
    assert (again.verdict, again.reason, again.pairs) == (first.verdict, first.reason, first.pairs)
    assert again.tries == 1


def test_an_undecided_try_goes_on_with_more_pairs(run):
    MadeUp.values = gain(0.012)
    first = tried(run, max_pairs=7)
    assert first.verdict == "undecided"
    more = tried(run, max_pairs=40)
    assert more.number == 1
    assert more.pairs[: len(first.pairs)] == first.pairs
    assert len(more.pairs) > len(first.pairs)


def test_a_verdict_has_the_limit_that_it_was_found_with(run):
    MadeUp.values = gain(0.004)
    first = tried(run, max_pairs=20)
    again = tried(run, max_pairs=10)
    assert (first.verdict, again.sentence.partition("; ")[2].partition("; ")[2]) == (
        "undecided",
        first.sentence.partition("; ")[2].partition("; ")[2],
    )
    assert again.public()["max_pairs"] == 20


@pytest.mark.parametrize("by", [0.012, 0.009])
@pytest.mark.parametrize("pairs", [7, 20])
def test_an_extension_that_was_killed_before_it_ended_goes_on(run, by, pairs):
    MadeUp.values = gain(by)
    assert tried(run, max_pairs=7).verdict == "undecided"
    more = tried(run, max_pairs=40)
    path = run / "tries/ledger.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    assert len(more.pairs) > 7
    assert json.loads(lines[-1])["event"] == "ended"
    path.write_text("".join(lines[:-1]))
    again = tried(run, max_pairs=pairs)
    assert (again.verdict, again.pairs) == (more.verdict, more.pairs)
    assert again.sentence
    assert again.max_pairs >= len(again.pairs)
    assert events(run)[-1]["event"] == "ended"


def test_content_that_cannot_be_hashed_is_said(run, monkeypatch):
    monkeypatch.setattr("lighter.tries.evaluation._validation_content", lambda config: unhashable())
    assert "is not frozen, as it cannot be hashed: _thread.lock." in tried(run, dry_run=True).notes[-1]


def unhashable() -> Content:
    content = Content()
    content.add([1, threading.Lock()])
    return content


def test_a_killed_try_counts_and_resumes(run, monkeypatch):
    def killed(*_: object) -> None:
        if len(MadeUp.started) > 9:
            raise SystemExit(137)

    monkeypatch.setattr(MadeUp, "seconds", killed)
    original = MadeUp.train
    monkeypatch.setattr(MadeUp, "train", lambda self, seeds: (original(self, seeds), killed()))
    with pytest.raises(SystemExit):
        tried(run)
    monkeypatch.undo()
    assert [entry.verdict for entry in Ledger(run / "tries").entries()] == [None]


def test_a_ledger_with_a_torn_line_is_read(run):
    tried(run)
    path = run / "tries/ledger.jsonl"
    path.write_text(path.read_text() + '{"event": "beg')
    outcome = tried(run, "system::optimizer::lr=2.0")
    assert outcome.number == 2
    assert len(Ledger(run / "tries").entries()) == 2


def test_what_changes_nothing_is_said_at_once(run):
    assert tried(run, "system::optimizer::lr=0.01").public()["changes_nothing"]
    assert MadeUp.started == []
    MadeUp.values = lambda side, seed: noise("", seed)
    outcome = tried(run)
    assert (outcome.verdict, outcome.reason, len(outcome.pairs), outcome.tries) == ("undecided", "nothing", 1, 0)
    assert "changes nothing: with one seed, both fits came to the same bits" in outcome.sentence
    assert tried(run).reason == "nothing"


def test_a_dry_run_writes_nothing(run):
    outcome = tried(run, dry_run=True)
    assert (outcome.verdict, outcome.exit_code) == (None, 0)
    assert not (run / "tries").exists()
    with pytest.raises(RunError, match="is refused"):
        tried(run, "trainer::limit_val_batches=1", dry_run=True)


def test_a_refused_try_is_noted_and_trains_nothing(run):
    tried(run)
    trained = len(MadeUp.started)
    with pytest.raises(RunError, match=r"is refused.*\n\n  trainer::limit_val_batches: it may change when"):
        tried(run, "trainer::limit_val_batches=1")
    assert len(MadeUp.started) == trained
    assert events(run)[-1]["event"] == "refused"
    assert Ledger(run / "tries").refusals() == 1


@pytest.mark.parametrize("file", ["metric.py", "data.txt", "parts.py"])
def test_a_changed_file_is_refused_each_time(run, tmp_path, file):
    tried(run)
    path = tmp_path / file
    path.write_text("3" if file == "data.txt" else path.read_text() + "\n# changed\n")
    for word in (WORD, "system::optimizer::lr=3.0"):
        with pytest.raises(RunError, match=file.partition(".")[0]):
            tried(run, word)


def test_a_baseline_whose_code_changed_is_refused(run):
    facts = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**facts, "code": {"project.parts": "0"}}))
    with pytest.raises(RunError, match=r"project\.parts: this module changed since the baseline was trained"):
        tried(run)


def test_records_of_a_pair_that_differ_are_refused(run):
    MadeUp.facts = {"split": {"hash": "other"}, "data": {"val": [{"fingerprint": "x"}]}}
    with pytest.raises(RunError, match="the validation data"):
        tried(run)
    assert events(run)[-1]["error"].startswith("this try against")
    assert Ledger(run / "tries").entries()[0].counts


@pytest.mark.parametrize("trained", ["v", "t"])
def test_a_fit_on_the_validation_data_is_refused_by_its_record(run, monkeypatch, trained):
    def record(self: MadeUp, seed: int) -> Run:
        train = "t" if self.name == "baseline" else trained
        data = {split: [{"fingerprint": value}, {"class": "x"}] for split, value in (("train", train), ("val", "v"))}
        facts = {"status": "finished", "metrics": {METRIC: self.value(seed)}, "data": data}
        return Run(RunFolder(self.folder), facts)

    monkeypatch.setattr(MadeUp, "run", record)
    if trained == "t":
        assert tried(run).verdict == "better"
        return
    with pytest.raises(RunError, match="the training data: it is the validation data"):
        tried(run)
    assert len(MadeUp.started) == 2


def test_the_question_is_fixed_by_the_first_try(run):
    tried(run)
    with pytest.raises(RunError, match=r"another metric would be another question"):
        tried(run, "system::optimizer::lr=2.0", metric=LOSS)
    with pytest.raises(RunError, match=r"another metric would be another question"):
        tried(run, "system::optimizer::lr=2.0", metric=f"min {METRIC}")
    with pytest.raises(RunError, match=r"opened with alpha 0\.02"):
        tried(run, "system::optimizer::lr=2.0", alpha=0.5)
    assert tried(run, "system::optimizer::lr=2.0", metric=None).metric == METRIC
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("lr: 0.01", "lr: 0.001"))
    with pytest.raises(RunError, match="config of the baseline has changed"):
        tried(run)


def test_values_that_are_not_finite_fail(run):
    MadeUp.values = lambda side, seed: math.nan if side != "baseline" else 0.5
    with pytest.raises(LighterError, match="is nan with seed 2"):
        tried(run)
    assert events(run)[-1]["event"] == "ended"
    MadeUp.values = gain(0.05)
    assert tried(run).number == 2


def test_a_try_that_fails_says_what_it_took(run):
    MadeUp.values = lambda side, seed: math.nan if side != "baseline" else 0.5
    words = ["try", WORD, "--against", str(run), "--metric", METRIC, "--json"]
    shown = CliRunner().invoke(cli, words)
    assert shown.stderr.partition("\n")[0].endswith("is nan with seed 2")  # no title: the config has no problem
    document = json.loads(shown.stdout)
    assert document["schema"] == "lighter.errors/1"
    assert document["cost"] == {
        "candidate_fits": 1,
        "candidate_seconds": 10.0,
        "baseline_fits": 1,
        "baseline_seconds": 10.0,
    }
    words[1] = "trainer::limit_val_batches=1"
    assert json.loads(CliRunner().invoke(cli, words).stdout)["cost"]["candidate_fits"] == 0


def test_a_dry_run_refuses_what_a_try_refuses(run, tmp_path):
    path = tmp_path / "metric.py"
    tried(run)
    path.write_text(path.read_text() + "\n# changed\n")
    count = len(events(run))
    with pytest.raises(RunError, match=r"metric\.py"):
        tried(run, "system::optimizer::lr=3.0", dry_run=True)
    assert len(events(run)) == count


def test_a_dry_run_without_a_ledger_looks_at_the_code_of_the_baseline(run):
    facts = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**facts, "code": {"project.parts": "0"}}))
    with pytest.raises(RunError, match=r"project\.parts: this module changed"):
        tried(run, dry_run=True)
    assert not (run / "tries").exists()


def test_seeds_stay_those_of_the_first_try(run):
    first = tried(run)
    record = run / "run.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "seed": 4}))
    second = tried(run, "system::optimizer::lr=2.0")
    assert second.pairs[0].seed == first.pairs[0].seed == FIRST
    assert second.cost.baseline_fits == 0


MISTAKES = {
    "a file": (("other.yaml",), {}, r"`other\.yaml` is no override"),
    "a metric of training": ((WORD,), {"metric": "train/loss"}, "no metric of validation"),
    "no such metric": ((WORD,), {"metric": "val/los"}, "Did you mean `val/loss`"),
    "no such direction": ((WORD,), {"metric": "mx val/loss"}, "`mx` is no direction"),
    "too few pairs": ((WORD,), {"max_pairs": 3}, "at least 7 pairs"),
    "budget": (("trainer::max_epochs=9",), {}, "--allow budget"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes(run, case):
    words, options, message = MISTAKES[case]
    with pytest.raises(RunError, match=message):
        tried(run, *words, **options)


def test_a_wrong_override_is_a_mistake_of_the_config(run):
    with pytest.raises(ConfigError, match="Did you mean"):
        tried(run, "system::optimizer::lrr=1")


def test_a_second_process_waits_for_its_turn(run):
    with Ledger(run / "tries").locked("x"), pytest.raises(RunError, match="take turns"):
        tried(run)


@pytest.mark.parametrize(("by", "code"), [(0.05, 0), (-0.3, 10), (-0.004, 11)])
def test_the_command_has_an_exit_code_for_each_verdict(run, by, code):
    MadeUp.values = gain(by)
    words = ["try", WORD, "--against", str(run), "--metric", METRIC]
    shown = CliRunner().invoke(cli, words)
    assert shown.exit_code == code, shown.output
    data = json.loads(CliRunner().invoke(cli, [*words, "--json"]).stdout)
    assert data["schema"] == "lighter.try/1"
    assert data["exit_code"] == code
    assert data["sentence"].partition(";")[0] in shown.output


def test_the_command_refuses(run):
    shown = CliRunner().invoke(cli, ["try", "trainer::limit_val_batches=1", "--against", str(run)])
    assert shown.exit_code == 2
    assert "  trainer::limit_val_batches: it may change when" in shown.output
