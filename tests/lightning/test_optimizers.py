"""What `configure_optimizers` returns, and optimization by hand."""

from __future__ import annotations

import pytest

RATES = {
    "one": 0.05,
    "list": 0.05,
    "tuple": 0.05,
    "two lists": 0.0125,  # halved after each of two epochs
    "two lists with a dict": 0.05 / 2**6,  # after every second of twelve steps
    "dict": 0.0125,
    "dict of dicts": 0.0125,
    "list of dicts": 0.05 / 2**12,
    "monitor": 0.005,  # the second epoch is a plateau
    "not strict": 0.05,
}
MODULE = "model: {_target_: tests.lightning.jobs.%s}"


@pytest.mark.parametrize("form", RATES)
@pytest.mark.filterwarnings("ignore:ReduceLROnPlateau conditioned on metric not_there:RuntimeWarning")
def test_every_form_of_configure_optimizers(both, form):
    ours, _ = both(f"model: {{_target_: tests.lightning.jobs.Optimizers, form: {form}}}")
    assert ours.trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(RATES[form])


@pytest.mark.filterwarnings("ignore:`LightningModule.configure_optimizers` returned `None`")
def test_no_optimizer_at_all(both):
    both("model: {_target_: tests.lightning.jobs.Optimizers, form: none}")


def test_two_optimizers_by_hand(both):
    ours, _ = both(MODULE % "Gan")
    assert ours.trainer.global_step == 24  # each optimizer's steps count
    assert ours.events == [[False] * 4] * 12  # toggled: the discriminator rests while the generator learns
    assert {"fooled", "caught"} <= set(ours.values)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_schedule_per_step_as_long_as_the_training(both, accumulate):
    ours, _ = both(f"""
    {MODULE % "OneCycle"}
    trainer: {{accumulate_grad_batches: {accumulate}}}
    """)
    assert ours.events == [12 // accumulate]
    [schedule] = ours.trainer.lr_scheduler_configs
    assert schedule.scheduler.last_epoch == 12 // accumulate
