"""The names of this package that other rooms import until their imports are changed."""

from __future__ import annotations

import pytorch_lightning as pl
from torchmetrics import Metric

from lighter._lightning import modules
from lighter._lightning.callbacks import average_before_start as average_before_start
from lighter._lightning.callbacks import is_search as is_search
from lighter._lightning.dataloaders import forget_unbegun_fetchers as forget_unbegun_fetchers
from lighter._lightning.dataloaders import running_loaders as running_loaders
from lighter._lightning.modules import log_other_hparams as log_other_hparams
from lighter._lightning.prediction import predicted_samples as predicted_samples
from lighter._lightning.prediction import start_predicting_at as start_predicting_at
from lighter._lightning.signals import child_processes as child_processes
from lighter._lightning.signals import leave_handlers as leave_handlers
from lighter._lightning.signals import let_children_end as let_children_end
from lighter._lightning.signals import meet_in_each_batch as meet_in_each_batch
from lighter._lightning.signals import requeue_signal as requeue_signal
from lighter._lightning.signals import tell_to_stop as tell_to_stop
from lighter._lightning.steps import batches_started as batches_started
from lighter._lightning.steps import fits_without_validation as fits_without_validation
from lighter._lightning.steps import is_sanity_check as is_sanity_check
from lighter._lightning.steps import logging_step as logging_step
from lighter._lightning.steps import logs_this_step as logs_this_step
from lighter._lightning.steps import runs_steps_of as runs_steps_of


def log_again(trainer: pl.Trainer, hook: str | None, name: str, value: Metric) -> bool:
    """Call `modules.log_again`, which asks the module for the hook."""
    return modules.log_again(trainer.lightning_module, name, value)
