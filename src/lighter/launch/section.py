"""The section `launch` of a config -> what the job of `--launch slurm` asks for.

launch:
  kind: slurm
  partition: gpu
  time: 4:00:00
  requeue: true          # at the time limit, at a preemption and when a node fails; a number is how often at most
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lighter.config.problems import Problem, indefinite, nearest
from lighter.config.tree import Node, join
from lighter.launch.settings import JobSettings, Kind, check_notice, hint_of_option, read_settings, setting

SECTION = "launch"
KINDS = ("slurm",)
USUAL_REQUEUES = 100  # at four hours each, more than two weeks


def _requeues(value: Any) -> int:
    if isinstance(value, bool):
        return USUAL_REQUEUES if value else 0
    if not isinstance(value, int) or value < 0:
        raise ValueError
    return value


@dataclass(frozen=True)
class LaunchSettings(JobSettings):
    """The job of a run or an experiment.

    Attributes:
        requeue: how often it is requeued at most; 0 if never.
    """

    requeue: int = setting(Kind("true, false, or how often at most", _requeues), 0)


def parse_launch(root: Node, problems: list[Problem]) -> LaunchSettings:
    """Read the section; without one, and of a wrong setting, the defaults.

    Args:
        root: the merged config.
        problems: where all mistakes go.
    """
    section = root.child(SECTION)
    if section is None or section.value is None:
        return LaunchSettings()
    if not isinstance(section.value, dict):
        message = f"this section is a dict with the settings of a job; found {indefinite(section.plain())}"
        problems.append(Problem(message, section.origin, SECTION, "launch: {kind: slurm, partition: gpu}"))
        return LaunchSettings()
    _check_kind(section.value, problems)
    settings = LaunchSettings(**read_settings(LaunchSettings, section.value, problems, SECTION, _hint))
    check_notice(settings, section.value, problems, SECTION)
    return settings


def _check_kind(written: Mapping[Any, Node], problems: list[Problem]) -> None:
    node = written.get("kind")
    if node is not None and node.plain() not in KINDS:
        message = f"jobs are launched by {' or '.join(KINDS)}; found {indefinite(node.plain())}"
        problems.append(Problem(message, node.origin, join(SECTION, "kind"), nearest(node.plain(), KINDS)))


def _hint(key: str, known: Sequence[str]) -> str:
    if key in KINDS:
        return f"Write its settings one level up: launch: {{kind: {key}, partition: ...}}"
    return hint_of_option(key, known)
