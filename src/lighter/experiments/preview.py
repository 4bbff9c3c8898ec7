"""The config of a trial before it runs, or of one that is there: `lighter show config.yaml --trial 3`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from lighter.config import examine
from lighter.config.problems import Problem, in_order
from lighter.errors import ConfigError, RunError
from lighter.experiments.member_files import read_members, trials_of
from lighter.experiments.search.base import RandomSearch
from lighter.experiments.search.grid import GridSearch
from lighter.experiments.search.sobol import SobolSearch
from lighter.experiments.section import Asked, parse
from lighter.experiments.trials import Member, Trial, Values

log = logging.getLogger("lighter")


def words_of_trial(inputs: Sequence[str], number: int) -> list[str]:
    """Return the overrides of a trial's first member.

    The trial is looked for in the folder of the config, if that is an experiment's. Otherwise its values are those that
    the search suggests when nothing is known yet, and a search that learns from results will suggest others.

    Raises:
        ConfigError: the config is wrong, or has no trial of this number.
    """
    config, problems = examine(inputs)
    if config is None:
        raise ConfigError(in_order(problems))
    asked, of_section = parse(config)
    if asked is None or problems:
        raise ConfigError(in_order([*problems, *of_section]))
    trials = {trial.number: trial for path in inputs for trial in _recorded(Path(path).parent)}
    if number in trials:
        return asked.words(trials[number].members[0])
    values = _suggested(asked, number)
    if values is None:
        message = f"there is no trial {number}: the experiment has {asked.trials}, from 0 on"
        raise ConfigError([Problem(message)])
    return asked.words(Member(number, asked.seeds[0], asked.folds[0], values))


def _recorded(folder: Path) -> list[Trial]:
    try:
        return trials_of(read_members(folder))
    except RunError:
        return []


def _suggested(asked: Asked, number: int) -> Values | None:
    if number >= asked.trials:
        return None
    if number and not isinstance(asked.search, (RandomSearch, GridSearch, SobolSearch)):
        log.warning(
            "trial %d depends on results of the trials before it; these are its values without results",
            number,
        )
    return asked.search.suggest(number, [])
