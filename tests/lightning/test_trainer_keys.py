"""The trainer's arguments, each as a key of the config."""

from __future__ import annotations

import warnings

import pytest
import torch

from tests.lightning.compare import TRAINERS, by_hand, config_of, equal, with_lighter
from tests.lightning.rungs import RUNGS, experiment
from tests.slow import mostly_slow, one_in

MODULE = "model: {_target_: tests.lightning.jobs.Validated}"
KEYS = {  # the steps of the optimizer, and the validations
    "max_epochs: 2": (12, 2),
    "accumulate_grad_batches: 2": (6, 2),
    "gradient_clip_val: 0.05": (12, 2),
    "{gradient_clip_val: 0.01, gradient_clip_algorithm: value}": (12, 2),
    "precision: bf16-mixed": (12, 2),
    "precision: 64-true": (12, 2),
    "max_steps: 7": (7, 1),
    "{limit_train_batches: 0.5, limit_val_batches: 1}": (6, 2),
    "limit_val_batches: 0": (12, 0),
    "val_check_interval: 0.5": (12, 4),
    "{val_check_interval: 4, check_val_every_n_epoch: null}": (12, 3),
    "check_val_every_n_epoch: 2": (12, 1),
    "overfit_batches: 2": (4, 2),
    "{min_epochs: 3, max_epochs: 3}": (18, 3),
    "deterministic: true": (12, 2),
    "inference_mode: false": (12, 2),
    "num_sanity_val_steps: 0": (12, 2),
    "reload_dataloaders_every_n_epochs: 1": (12, 2),
    "detect_anomaly: true": (12, 2),
}
pytestmark = [
    pytest.mark.filterwarnings("ignore:You requested to overfit but enabled"),
    pytest.mark.filterwarnings("ignore:.*You passed `val_check_interval`"),
]


def keys(text: str) -> str:
    return f"trainer: {text if text.startswith('{') else '{' + text + '}'}"


@pytest.mark.parametrize("key", one_in(3, KEYS))
def test_keys_of_the_trainer(both, key):
    ours, _ = both(f"{MODULE}\n{keys(key)}")
    assert (ours.trainer.global_step, len(ours.column("val_loss"))) == KEYS[key]


@pytest.mark.parametrize(
    "key", ["gradient_clip_val: 0.05", "{gradient_clip_val: 0.01, gradient_clip_algorithm: value}"]
)
def test_a_key_that_is_to_change_the_parameters_does(both, key):
    changed, _ = both(f"{MODULE}\n{keys(key)}")
    usual, _ = both(MODULE)
    assert not equal(changed.weights, usual.weights)


def test_mixed_precision_computes_in_bfloat16(both):
    ours, _ = both(f"{MODULE.replace('Validated', 'Precise')}\ntrainer: {{precision: bf16-mixed}}")
    assert set(ours.events) == {torch.bfloat16}
    assert {weight.dtype for weight in ours.weights.values()} == {torch.float32}


def test_fast_dev_run(both):
    ours, _ = both(f"{MODULE}\ntrainer: {{fast_dev_run: true}}")
    assert ours.trainer.global_step == 1
    assert ours.rows == []


@pytest.mark.parametrize("stage", ["test", "predict"])
def test_limits_of_the_other_stages(both, stage):
    ours, _ = both(
        """
        model: {_target_: tests.lightning.jobs.ManyLoaders}
        trainer: {limit_test_batches: 1, limit_predict_batches: 1}
        """,
        stage,
    )
    if stage == "test":
        assert [event[1:] for event in ours.events] == [(0, 0), (1, 0)]  # a batch of each dataloader
    else:
        assert [len(batches) for batches in ours.result] == [1, 1]


@pytest.mark.parametrize("trainer", mostly_slow(reversed(TRAINERS)))
@pytest.mark.parametrize("rung", [rung for rung in RUNGS if rung != "plain"])
@pytest.mark.parametrize(
    "key",
    one_in(
        3,
        [
            "accumulate_grad_batches: 2",
            "gradient_clip_val: 0.05",
            "precision: bf16-mixed",
            "{max_steps: 7, limit_val_batches: 1}",
            "{val_check_interval: 4, check_val_every_n_epoch: null}",
            "overfit_batches: 2",
        ],
    ),
)
def test_keys_do_the_same_on_every_rung(key, rung, trainer):
    """The parameters and the losses of a plain module that does the same."""
    ours = with_lighter(experiment(rung, keys(key), trainer))
    plain = by_hand(experiment("plain", keys(key)))
    assert equal([*ours.weights.values()], [*plain.weights.values()])
    assert ours.trainer.global_step == plain.trainer.global_step
    name = "loss/total" if rung == "forward" else "loss"
    assert ours.column(f"train/{name}/step") == plain.column("train_loss")
    validated = [value for _, value in ours.column(f"val/{name}/epoch")]
    assert validated == pytest.approx([value for _, value in plain.column("val_loss")], rel=1e-6)


def test_keys_are_those_of_lightning():
    """`lighter.Trainer` takes every argument of Lightning's trainer, and an unknown one is no silence."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        config = config_of(f"{MODULE}\ntrainer: {{acumulate_grad_batches: 2}}")
    with pytest.raises(Exception, match="accumulate_grad_batches"):
        with_lighter(config)
