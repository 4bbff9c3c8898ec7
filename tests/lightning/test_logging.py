"""`self.log`, `self.log_dict`, and what a module is told of its run."""

from __future__ import annotations


def test_log_with_its_options(both):
    ours, _ = both("model: {_target_: tests.lightning.jobs.Logs}")
    logged = {name for _, row in ours.rows for name in row}
    assert {"both_step", "both_epoch", "highest", "total", "weighted", "a", "b", "at_the_end", "by_hand"} <= logged
    assert {"val_loss_step", "val_loss_epoch"} <= logged
    assert "quiet" not in logged
    assert "quiet" in ours.values
    assert "both_step" in ours.events[0]  # the progress bar's
    [first, _] = ours.column("total")
    assert first[1] > ours.column("highest")[0][1] > ours.column("both_epoch")[0][1]


def test_log_every_n_steps(both):
    ours, _ = both("""
    model: {_target_: tests.lightning.jobs.Net}
    trainer: {log_every_n_steps: 5}
    """)
    assert [step for step, _ in ours.column("train_loss")] == [4, 9]


def test_no_logger(both):
    ours, _ = both("""
    model: {_target_: tests.lightning.jobs.Validated}
    trainer: {logger: false}
    """)
    assert ours.trainer.loggers == []
    assert {"train_loss", "val_loss"} <= set(ours.values)


def test_properties(both):
    ours, _ = both("""
    model: {_target_: tests.lightning.jobs.Properties, lr: 0.02}
    trainer: {max_epochs: 3}
    """)
    assert [event["global_step"] for event in ours.events] == list(range(18))
    assert ours.events[-1] == {
        "current_epoch": 2,
        "global_step": 17,
        "device": "cpu",
        "global_rank": 0,
        "local_rank": 0,
        "lr": 0.02,
        "max_epochs": 3,
        "logger": "Rows",
        "last": True,
    }
