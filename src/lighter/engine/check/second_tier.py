"""All problems of the second tier: those of the targets, and those of the experiment."""

from __future__ import annotations

from lighter.config import Config
from lighter.config.problems import Problem
from lighter.engine.check import check, check_calls_only


def second_tier(config: Config, stage: str | None, *, is_layer: bool = False) -> list[Problem]:
    """Return the problems of a config whose code is importable; without a stage, of the whole config and of `fit`.

    Of a layer, a file that is meant to be merged with others, only the calls that it writes itself are checked.
    """
    if is_layer:
        context = check_calls_only(config)
        return [*context.problems, *context.failures]
    context = check(config, stage or "fit", everything=stage is None)
    of_experiment: list[Problem] = []
    if stage is None and config.merged.child("experiment") is not None and config.safe is None:
        from lighter.engine.check.experiment import check_experiment

        of_experiment = check_experiment(config, context)[1]
    return [*context.problems, *context.failures, *of_experiment]
