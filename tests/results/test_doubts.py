"""Sides that cannot be compared as they are: what is refused, what can be allowed, what is only noted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import lighter
from lighter.errors import RunError
from tests.results.jobs import (
    ACCURACY,
    BASE,
    CONFIG,
    LOSS,
    OURS,
    compared,
    make_fit,
    make_fits,
    make_sweep,
)

OTHER_DATA = {"val": [{"class": "TensorDataset", "length": 300, "fingerprint": "xyz"}]}

LONGER = {"val": [{"class": "TensorDataset", "length": 400, "fingerprint": "xyz"}]}

SPLIT = {"kind": "plain", "n": 5, "fold": 0, "seed": 0, "hash": "a", "val": 60}

DOUBTS = {
    "data": (
        {"data": OTHER_DATA},
        "the validation data of `base` and `ours` differ: 300 samples each, with another content",
    ),
    "data, by length": (
        {"data": LONGER},
        "the validation data of `base` and `ours` differ: 300 samples and 400 samples",
    ),
    "split": (
        {"split": SPLIT, "data": OTHER_DATA},
        r"is split otherwise: not at all and plain in 5, fold 0, seed 0, 60 samples",
    ),
    "metric": (
        {"config": CONFIG.replace("torchmetrics.Accuracy", "torchmetrics.Accuracy, average: macro")},
        r"`val_metrics` differs between `base` and `ours`: \{_target_: torchmetrics.Accuracy\} and \{.*macro\}",
    ),
    "code": ({"code": {"digits": "5678", "other": "1"}}, "`digits` changed between `base` and `ours`"),
    "budget": (
        {"config": CONFIG.replace("max_epochs: 3", "max_epochs: 9")},
        "`base` and `ours` were trained with other limits: 3 epochs and 9 epochs",
    ),
}


@pytest.mark.parametrize("name", DOUBTS)
def test_sides_that_differ_in_more_are_refused_unless_allowed(name: str, tmp_path: Path) -> None:
    facts, message = DOUBTS[name]
    kind = name.partition(",")[0]
    with pytest.raises(RunError, match=message) as refused:
        compared(tmp_path, {}, dict(facts))
    assert str(refused.value).startswith("these cannot be compared as they are:")
    assert str(refused.value).endswith(f"To compare them all the same: --allow {kind}")
    comparison = lighter.compare("base", "ours", metric=ACCURACY, root=tmp_path, allow=[kind])
    assert [doubt.partition(":")[0] for doubt in comparison.doubts] == [kind]
    assert lighter.compare("base", "ours", metric=ACCURACY, root=tmp_path, allow=["all"]).doubts == comparison.doubts


@pytest.mark.parametrize(
    ("one", "other", "are_same"),
    [
        (
            "system: {metrics: {val: {accuracy: {a: 1}, f1: {b: 2}}}}",
            "system: {metrics: {val: {accuracy: {a: 1}}}}",
            True,
        ),
        ("system: {metrics: {val: {accuracy: {a: 1}}}}", "system: {metrics: {val: {accuracy: {a: 2}}}}", False),
        ("model: {evaluator_cfg: {train: {a: 1}}}", "model: {evaluator_cfg: {train: {a: 2}}}", False),
        ("model: {evaluator_cfg: {test: {a: 1}}}", "model: {evaluator_cfg: {test: {a: 2}}}", True),
        (
            "model: {val_metrics: '%vars::a'}\nvars: {a: {b: 1}}",
            "model: {val_metrics: {b: 1}}\nvars: {a: {b: 2}}",
            True,
        ),
        (
            "model: {val_metrics: '%vars::a'}\nvars: {a: {b: 1}}",
            "model: {val_metrics: '%vars::a'}\nvars: {a: {b: 2}}",
            False,
        ),
        (
            "model: {val_metrics: '@vars::a'}\nvars: {a: {b: 1}}",
            "model: {val_metrics: '@vars::a'}\nvars: {a: {b: 2}}",
            False,
        ),
        (
            "model: {val_metrics: {c: {_target_: C, n: '@vars::a::b'}}}\nvars: {a: {b: 1}}",
            "model: {val_metrics: {c: {_target_: C, n: '@vars::a::b'}}}\nvars: {a: {b: 2}}",
            False,
        ),
    ],
)
def test_definitions_of_a_metric_on_all_rungs(one: str, other: str, are_same: bool, tmp_path: Path) -> None:
    make_fits(tmp_path, "base", BASE, config=one)
    make_fits(tmp_path, "ours", OURS, hour=11, config=other)
    if are_same:
        assert lighter.compare("base", "ours", metric=ACCURACY, root=tmp_path).doubts == ()
    else:
        with pytest.raises(RunError, match=r"metric: `.*` differs between"):
            lighter.compare("base", "ours", metric=ACCURACY, root=tmp_path)


def _limited(text: str, size: int | None = None) -> dict[str, str]:
    loader = f", val_dataloader: {{_target_: DataLoader, batch_size: {size}}}" if size else ""
    config = CONFIG.replace("max_epochs: 3", f"max_epochs: 3{text}")
    return {"config": config.replace("shuffle: true}", f"shuffle: true}}{loader}")}


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        (_limited(""), _limited(", limit_val_batches: 0.1"), "all of it and 10% of the batches"),
        (_limited(""), _limited(", limit_val_batches: 1"), "all of it and 1 batch"),
        (_limited(", limit_val_batches: 5"), _limited(", limit_val_batches: 6"), "5 batches and 6 batches"),
        (_limited(""), _limited(", overfit_batches: 2"), "all of it and 2 batches"),
        (_limited("", 32), _limited(", limit_val_batches: 9", 32), "all of it and the first 288 samples"),
        (
            _limited(", limit_val_batches: 2", 32),
            _limited(", limit_val_batches: 2", 64),
            "the first 64 samples and the first 128 samples",
        ),
        (_limited(""), _limited(", limit_val_batches: 1.0"), ""),
        (_limited(""), _limited(", limit_val_batches: null, overfit_batches: 0.0"), ""),
        (_limited(""), _limited(", limit_val_batches: 300"), ""),
        (_limited("", 32), _limited(", limit_val_batches: 10", 32), ""),
        (_limited(", limit_val_batches: 4", 32), _limited(", limit_val_batches: 2", 64), ""),
        (_limited(""), _limited(", limit_test_batches: 1"), ""),
        (
            _limited(""),
            {
                "config": CONFIG.replace("trainer: {max_epochs: 3}", "trainer: '@vars::t'")
                + "vars: {t: {max_epochs: 3, limit_val_batches: '@vars::n'}, n: 4}"
            },
            "all of it and 4 batches",
        ),
    ],
)
def test_a_part_of_the_data_is_other_data(
    one: dict[str, str], other: dict[str, str], told: str, tmp_path: Path
) -> None:
    doubts = compared(tmp_path, dict(one), dict(other), allow=["data"]).doubts
    known = f"data: `base` and `ours` were measured on other parts of the validation data: {told}"
    assert doubts == ((known,) if told else ())


def test_a_part_of_the_test_data_of_any_member_is_other_data(tmp_path: Path) -> None:
    """Each test has a config of its own, so a limit may be that of one member alone."""
    metrics = {"metrics": {"test/acc": 0.8}, "stage": "test", "data": {"test": [{"length": 300}]}}
    for hour, name in enumerate(("base", "ours"), 10):
        for seed in range(1, 4):
            limits = ", limit_val_batches: 3, overfit_batches: 1" if name == "base" else ""
            limits += ", limit_test_batches: 2" if (name, seed) == ("ours", 3) else ""
            folder = tmp_path / "2026-11-22" / f"{hour}-00-{seed:02}-{name}"
            make_fit(folder, 0.8 + seed / 100, seed, **metrics, **_limited(limits))
    words = [
        ",".join(f"2026-11-22/{hour}-00-{seed:02}-{name}" for seed in range(1, 4))
        for hour, name in ((10, "base"), (11, "ours"))
    ]
    with pytest.raises(RunError, match=r"other parts of the test data: all of it and 2 batches\n") as refused:
        lighter.compare(f"a={words[0]}", f"b={words[1]}", metric="test/acc", root=tmp_path)
    assert "data: `a` and `b`" in str(refused.value)


def test_one_epoch_is_one(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="other limits: 3 epochs and 1 epoch\n"):
        compared(tmp_path, {}, {"config": CONFIG.replace("max_epochs: 3", "max_epochs: 1")})


def test_limits_are_compared_through_what_they_refer_to(tmp_path: Path) -> None:
    named = CONFIG.replace("max_epochs: 3", "max_epochs: '@vars::epochs'")
    config = {epochs: f"{named}vars: {{epochs: {epochs}}}\n" for epochs in (3, 9)}
    assert not compared(tmp_path / "same", {}, {"config": config[3]}).doubts
    with pytest.raises(RunError, match="other limits: 3 epochs and 9 epochs"):
        compared(tmp_path / "other", {"config": config[3]}, {"config": config[9]})


def test_what_is_being_compared_is_no_doubt(tmp_path: Path) -> None:
    """Another learning rate, network or module that only one side imported."""
    config = CONFIG.replace("digits.Classifier", "other.Classifier, lr: 0.1")
    assert not compared(tmp_path, {}, {"config": config, "code": {"digits": "1234", "other": "1"}}).doubts


def test_another_loss_function_matters_to_the_loss_alone(tmp_path: Path) -> None:
    config = CONFIG.replace("CrossEntropyLoss", "NLLLoss")
    assert compared(tmp_path, {}, {"config": config}).doubts == ()
    assert compared(tmp_path / "metrics", {}, dict(DOUBTS["metric"][0]), metric=LOSS).doubts == ()
    with pytest.raises(RunError, match="`criterion` differs between"):
        lighter.compare("base", "ours", root=tmp_path, metric="val/loss")


def test_runs_of_two_configs_are_no_side(tmp_path: Path) -> None:
    make_fits(tmp_path, "base", BASE)
    make_fits(tmp_path, "ours", OURS, hour=11)
    make_fit(tmp_path / "2026-11-22/12-00-00-ours", 0.9, 6, config=CONFIG.replace("shuffle: true", "shuffle: false"))
    make_fit(tmp_path / "2026-11-22/12-00-01-base", 0.9, 5)
    with pytest.raises(RunError) as refused:
        lighter.compare("base", "ours", root=tmp_path)
    assert "config: the runs of `ours` are not of one config: " in str(refused.value)
    assert "differ in `data::train_dataloader::shuffle`" in str(refused.value)
    assert "seeds: `base` has seed 5 twice: a repeat of a fit is no new sample" in str(refused.value)
    assert str(refused.value).endswith("--allow seeds,config")


def test_code_that_changed_between_members(tmp_path: Path) -> None:
    folder = make_sweep(tmp_path, "search", [BASE, OURS])
    path = folder / "trial-0001-seed-3" / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"code": {"digits": "changed"}}))
    message = r"code: `digits` changed between members of `trial 1: lr=0.01`: see .*/trial-0001-seed-3"
    with pytest.raises(RunError, match=message):
        lighter.compare("search", root=tmp_path)


def test_members_that_were_trained_further_than_the_others(tmp_path: Path) -> None:
    """A promotion that was stopped, or `lighter resume` of one member: values of several epochs are no sample."""
    folder = make_sweep(tmp_path, "search", [BASE, OURS], progress={"epoch": 1, "step": 38})
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("search:\n", "search:\n    schedule: {kind: asha, rungs: [1]}\n"))
    assert not lighter.compare("search", root=tmp_path).doubts
    path = folder / "trial-0001-seed-3" / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"progress": {"epoch": 3, "step": 114}}))
    message = r"budget: .*/trial-0001-seed-3 of `trial 1: lr=0.01` has trained further than its other members"
    with pytest.raises(RunError, match=message):
        lighter.compare("search", root=tmp_path)
    # to its end, where there is no rung to be past
    config.write_text(config.read_text().replace("kind: asha, rungs: [1]", "kind: none"))
    assert not lighter.compare("search", root=tmp_path).doubts


def test_a_checkout_stands_for_modules_that_are_not_known(tmp_path: Path) -> None:
    facts = [{"code": {}, "source": {"root": "/", "digest": digest}} for digest in "ab"]
    with pytest.raises(RunError, match="code: the checkout changed between `base` and `ours`"):
        compared(tmp_path, *facts)


def test_the_best_of_more_trials_is_refused(tmp_path: Path) -> None:
    make_sweep(tmp_path, "search", [BASE, OURS])
    make_fits(tmp_path, "base", BASE)
    with pytest.raises(RunError, match="tuning: `search` is the best of 2 trials and `base` of 1 trial: more trials"):
        lighter.compare("search", "base", root=tmp_path)
    comparison = lighter.compare("search", "base", root=tmp_path, allow=["tuning"])
    assert any("`search` is the best of 2 trials by the same values" in note for note in comparison.notes)
    assert not lighter.compare("search/trial-1", "base", root=tmp_path).doubts
    with pytest.raises(
        RunError, match="tuning: `search` is the best of 2 trials and `search/trial-0` of 1 trial: more"
    ):
        lighter.compare("search", "search/trial-0", root=tmp_path)


def test_what_can_be_allowed(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="`date` is nothing that can be allowed; there is: data, split, metric, code, "):
        compared(tmp_path, {}, {}, allow=["date"])


def test_a_run_on_both_sides(tmp_path: Path) -> None:
    make_fits(tmp_path, "base", BASE)
    make_fits(tmp_path, "ours", OURS, hour=11)
    words = ("ours", "x=10-00-00,10-00-01,10-00-02", "y=10-00-02,10-00-03,10-00-04")
    with pytest.raises(RunError, match="seeds: the run 2026-11-22/10-00-02-base is on both sides, `x` and `y`"):
        lighter.compare(*words, root=tmp_path)
    with pytest.raises(RunError, match=r"seeds: 5 runs are on both sides, `a` and `b`: .* and 1 more"):
        lighter.compare("a=base", "b=base", root=tmp_path)
    assert lighter.compare(*words, allow="seeds", root=tmp_path).doubts[0].startswith("seeds: the run")


def test_what_is_allowed_may_be_one_word(tmp_path: Path) -> None:
    comparison = compared(tmp_path, {}, {"code": {"digits": "5"}}, allow="code")
    assert len(comparison.doubts) == 1


def test_versions_and_machines_are_noted(tmp_path: Path) -> None:
    facts = {"software": {"packages": {"torch": "2.9"}}, "hardware": {"cpu": "Intel"}}
    notes = compared(tmp_path, {"software": {"packages": {"torch": "2.8"}}}, facts).notes
    assert "The runs used different versions: torch 2.8 and 2.9." in notes
    assert "The runs were on different machines: AMD EPYC, Intel." in notes


def test_data_without_fingerprints_is_not_known_to_be_the_same(tmp_path: Path) -> None:
    data = {"val": [{"class": "Folder", "length": 300}]}
    assert any("has no fingerprint" in note for note in compared(tmp_path, {"data": data}, {"data": data}).notes)
