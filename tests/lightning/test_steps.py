"""Steps and dataloaders."""

from __future__ import annotations

import pytest


@pytest.mark.filterwarnings("ignore:`training_step` returned `None`")
@pytest.mark.parametrize("module", ["Net", "DictSteps", "SkippingSteps"])
def test_training_steps_return_a_tensor_a_dict_or_nothing(both, module):
    ours, _ = both(f"model: {{_target_: tests.lightning.jobs.{module}}}")
    # Lightning counts a step that returned nothing, and gives the loggers the value of the step before it once more
    assert ours.trainer.global_step == 12
    losses = [value for _, value in ours.column("train_loss")]
    assert len(set(losses)) == (6 if module == "SkippingSteps" else 12)
    assert len(ours.events) == (12 if module == "DictSteps" else 0)


def test_validation_with_several_dataloaders(both):
    ours, _ = both("""
    model: {_target_: tests.lightning.jobs.ManyLoaders}
    data: {_target_: tests.lightning.jobs.Digits, val_loaders: 2}
    """)
    assert {"val_loss/dataloader_idx_0", "val_loss/dataloader_idx_1"} <= set(ours.values)


@pytest.mark.parametrize("stage", ["validate", "test", "predict"])
def test_the_other_stages_with_several_dataloaders(both, stage):
    ours, _ = both(
        """
        model: {_target_: tests.lightning.jobs.ManyLoaders}
        data: {_target_: tests.lightning.jobs.Digits, val_loaders: 2}
        """,
        stage,
    )
    assert len(ours.result) == 2
    if stage == "test":
        assert [sorted(values) for values in ours.result] == [
            ["named_0", "test_loss/dataloader_idx_0"],
            ["named_1", "test_loss/dataloader_idx_1"],
        ]
    if stage == "predict":
        assert [len(batches) for batches in ours.result] == [3, 2]


def test_a_module_with_dataloaders_of_its_own(both):
    ours, _ = both("""
    model: {_target_: tests.lightning.jobs.OwnLoaders}
    data: null
    """)
    assert "val_loss" in ours.values
    assert ours.trainer.num_training_batches == 4  # the longest of the two
