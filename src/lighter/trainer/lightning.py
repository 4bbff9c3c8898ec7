"""The few private names of Lightning that Lighter reads, each with the reason.

Tested against the Lightning versions that `pyproject.toml` allows; nothing here changes Lightning's state.
"""

from __future__ import annotations

from typing import Any

from pytorch_lightning.utilities.signature_utils import is_param_in_hook_signature


def logs_this_step(trainer: Any) -> bool:
    """Whether Lightning will pass the values of the training step that is running to the loggers.

    Private, because the public `global_step` counts every optimizer of a step and `log_every_n_steps` counts steps,
    and because nothing public says whether this batch only accumulates gradients.
    """
    every, stepped = trainer.log_every_n_steps, trainer.fit_loop.epoch_loop._batches_that_stepped
    due = bool(every) and ((stepped + 1) % every == 0 or trainer.should_stop)
    if not (due or trainer.fast_dev_run):
        return False
    return not (trainer.lightning_module.automatic_optimization and trainer.fit_loop._should_accumulate())


def log_again(trainer: Any, hook: str | None, name: str, value: Any) -> bool:
    """Log a metric object that `self.log` has logged before, from the same hook and under the same name.

    Private, because `self.log` looks for changes in its arguments and copies what it keeps of them, which costs a
    quarter of a millisecond a value and epoch.

    Returns:
        whether it was logged: not if `self.log` has yet to see it.
    """
    results = trainer._results
    loader = "" if results.dataloader_idx is None else f".{results.dataloader_idx}"
    key = f"{hook}.{name}{loader}"
    if key not in results or results[key].value is not value:
        return False
    results.update_metrics(key, value, 1)
    return True


def logging_step(trainer: Any) -> int:
    """The number that Lightning gives the loggers as the step of the training step that is running.

    Private for the same reason; with it our rows line up with what `self.log` and Lightning's callbacks log.
    """
    return int(trainer.fit_loop.epoch_loop._batches_that_stepped)


def fits_without_validation(trainer: Any) -> bool:
    """Whether a fit is running for which nobody gave validation data.

    Private, because the public `val_dataloaders` is known only when the validation is set up, and Lightning asks
    before that whether there is a `validation_step`, to complain of one without data.
    """
    source = trainer.fit_loop.epoch_loop.val_loop._data_source
    return trainer.state.fn == "fit" and not source.is_defined()


def takes_batch_idx(step: Any) -> bool:
    """Whether a step takes the index of the batch. Lightning asks with this helper of its own, at every step."""
    return is_param_in_hook_signature(step, "batch_idx", min_args=2)
