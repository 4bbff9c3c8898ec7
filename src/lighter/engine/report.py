"""The section `report` of a config: the callback that records evaluations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pytorch_lightning as pl

from lighter.config.problems import indefinite
from lighter.config.tree import join
from lighter.errors import ConfigError
from lighter.files.run_folder import RunFolder

if TYPE_CHECKING:
    from lighter.config.objects import Objects

REPORT = "report"


def add_report(objects: Objects, trainer: pl.Trainer, stage: str, folder: RunFolder) -> None:
    """Let a trainer record what it evaluates, if the config has the section `report`.

    Raises:
        ConfigError: its values are wrong.
    """
    if stage == "predict" or objects.lookup(REPORT) is None:
        return
    # most runs have none
    from lighter.callbacks.evaluation.report import EvaluationReport
    from lighter.callbacks.evaluation.settings import EXAMPLE, mistakes

    values = objects.get(REPORT)
    if not isinstance(values, Mapping):
        message = f"this section is a dict; found {indefinite(values)}"
        raise ConfigError([objects.problem(message, REPORT, f"For example: {EXAMPLE}")])
    problems = [
        objects.problem(message, join(REPORT, key) if key else REPORT, hint) for key, message, hint in mistakes(values)
    ]
    if problems:
        raise ConfigError(problems)
    trainer.callbacks.insert(0, EvaluationReport(**values, folder=folder.path))  # type: ignore[attr-defined]
