"""Every hook of Lightning's runs, once, in Lightning's order, on every rung: also where a user leaves out `super()`."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lightning.compare import by_hand, equal, with_lighter
from tests.lightning.jobs import HOOKS
from tests.lightning.rungs import CLASSES, RUNGS, experiment

pytestmark = pytest.mark.filterwarnings("ignore:You have overridden .* in `LightningModule` but have passed in")
NOTED = {rung: f"Noted{name}" for rung, name in CLASSES.items()}
TRAINER = "trainer: {enable_checkpointing: true, gradient_clip_val: 1.0}"


def noted(rung: str) -> dict[str, Any]:
    return experiment(rung, TRAINER, "Lightning's trainer", NOTED[rung])


def without_data(events: list) -> list:
    """Where a module brings its dataloaders, `prepare_data` is called at another moment: in plain Lightning too."""
    return [event for event in events if event != ("prepare_data",)]


@pytest.mark.parametrize("rung", RUNGS)
@pytest.mark.parametrize("stage", ["fit", "validate", "test", "predict"])
def test_hooks_run_in_lightnings_order(rung, stage):
    plain, ours = by_hand(noted("plain"), stage), with_lighter(noted(rung), stage)
    assert without_data(ours.events) == without_data(plain.events)
    assert equal([*ours.weights.values()], [*plain.weights.values()])


def test_hooks_were_noted():
    """All that there are, but those of loading and of schedulers."""
    events = {stage: by_hand(noted("plain"), stage).events for stage in ("fit", "validate", "test", "predict")}
    called = {event[0] for called in events.values() for event in called}
    assert set(HOOKS) - called == {"on_load_checkpoint", "lr_scheduler_step"}
    assert events["fit"][:3] == [("configure_callbacks",), ("prepare_data",), ("setup", "fit")]
    for stage, called in events.items():
        assert ("setup", stage) in called
        assert called[-1] == ("teardown", stage)
