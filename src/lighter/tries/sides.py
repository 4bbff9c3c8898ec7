"""The configs of both sides of a try, checked as those of experiments."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lighter.config import Config, yaml
from lighter.config.check.sections import MAX_SEED
from lighter.engine.experiment import checked_experiment
from lighter.engine.frozen import frozen
from lighter.errors import RunError
from lighter.experiments.section import SECTION, Asked
from lighter.tries.baseline import Baseline
from lighter.tries.frozen import changed_paths


@dataclass(frozen=True)
class Sides:
    """The checked configs of both sides, what is asked for of each, and the configs as they are saved."""

    baseline: Config
    candidate: Config
    of_baseline: Asked
    of_candidate: Asked
    saved_baseline: dict[str, Any]
    saved_candidate: dict[str, Any]

    @property
    def changes(self) -> list[str]:
        """The paths of the values that differ."""
        return changed_paths(self.baseline, self.candidate)

    @property
    def notes(self) -> list[str]:
        """The limits of a verdict: what it does not cover."""
        target = self.candidate.expanded.find(f"{self.candidate.module_section}::_target_")
        name = str(target.value) if target is not None else ""
        step = f"The validation step is that of {name}: what it does with the module's arguments is not checked."
        return [] if name.startswith("lighter.") else [step]


def checked_sides(baseline: Baseline, overrides: Sequence[str], pairs: int, workers: int | None) -> Sides:
    """Check both configs, with seeds for so many pairs.

    Raises:
        ConfigError: one is wrong, or has what members cannot read from a file.
        RunError: there are not so many seeds.
    """
    first = baseline.first_seed
    if first + pairs - 1 > MAX_SEED:
        raise RunError(f"after the seed of {baseline.name}, {first - 1}, there are no {pairs} others")
    given = {"kind": baseline.executor} if isinstance(baseline.executor, str) else baseline.executor or {}
    executor = {**given, **({"workers": workers} if workers else {})}
    section: dict[str, Any] = {"objective": baseline.objective, "seeds": [*range(first, first + pairs)]}
    section |= {"executor": executor} if executor else {}
    plain = {**baseline.config, SECTION: section}
    config, of_baseline, project = checked_experiment([plain])
    candidate, of_candidate, _ = checked_experiment([plain, *overrides])
    saved = [frozen(each, project, "members") for each in (config, candidate)]
    return Sides(config, candidate, of_baseline, of_candidate, *saved)


def digest(config: Mapping[str, Any]) -> str:
    """Return a hash of a config, but for what is asked for of its fits."""
    kept = {key: value for key, value in config.items() if key != SECTION}
    return hashlib.sha256(yaml.dump(kept).encode()).hexdigest()
