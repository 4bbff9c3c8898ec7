"""The few private names of Lightning that Lighter reads, each with the reason.

Tested against the Lightning versions that `pyproject.toml` allows; nothing here changes Lightning's state, but for
what says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def logs_this_step(trainer: Any) -> bool:
    """Whether Lightning will pass the values of the training step that is running to the loggers.

    Private, because the public `global_step` counts every optimizer of a step and `log_every_n_steps` counts steps,
    and because nothing public says whether this batch only accumulates gradients.
    """
    if not (trainer._logger_connector.should_update_logs or trainer.fast_dev_run):
        return False
    return not (trainer.lightning_module.automatic_optimization and trainer.fit_loop._should_accumulate())


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


def log_other_hparams(module: Any, hparams: Mapping[str, Any]) -> None:
    """Give the loggers these hyperparameters in place of those that a module, or a data module, saved.

    Private, because nothing public stands between `save_hyperparameters` and the loggers. This changes Lightning's
    state: the copy that it keeps for the loggers and for nothing else.
    """
    if module._log_hyperparams:
        module._hparams_initial = dict(hparams)
