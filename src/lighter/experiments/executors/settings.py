"""The section `experiment::executor` -> where members run and what each of them gets, as one dataclass per kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, ClassVar, TypeAlias

from lighter.config.problems import Problem, indefinite, nearest
from lighter.config.tree import Node, join
from lighter.launch.settings import (
    AMOUNT,
    AMOUNTS,
    COUNT,
    COUNT_OR_NONE,
    ELSEWHERE,
    MEMORY,
    TEXT,
    JobSettings,
    check_notice,
    hint_of_option,
    read_settings,
    setting,
)

PATH = "experiment::executor"


@dataclass(frozen=True)
class LocalSettings:
    """Processes of this machine.

    Attributes:
        workers: members at once; None for as many as the resources of the machine allow.
        cpus: threads of a member.
        gpus: devices of a member.
        members_per_gpu: members that share one device.
    """

    kind: ClassVar[str] = "local"
    workers: int | None = setting(COUNT)
    cpus: int = setting(COUNT, 1)
    gpus: int = setting(COUNT_OR_NONE, 0)
    members_per_gpu: int = setting(COUNT, 1)


@dataclass(frozen=True)
class SlurmSettings(JobSettings):
    """Jobs of SLURM, one for each member; one that needs longer than `time` is requeued and resumes.

    Attributes:
        workers: jobs at once, waiting or running; None for no limit of ours.
    """

    whose: ClassVar[str] = "members"
    workers: int | None = setting(COUNT)


@dataclass(frozen=True)
class RaySettings:
    """Tasks of Ray, one for each member.

    Attributes:
        address: of a running cluster; `auto` for the one of this machine; None for RAY_ADDRESS, or to start one here.
        workers: members at once; None for as many as the cluster has resources for.
        cpus, gpus: of a member; half a GPU is 0.5.
        memory: of a member in bytes; Ray only counts it.
        resources: custom resources of the cluster: `{a100: 1}`.
    """

    kind: ClassVar[str] = "ray"
    address: str | None = setting(TEXT)
    workers: int | None = setting(COUNT)
    cpus: float = setting(AMOUNT, 1.0)
    gpus: float = setting(AMOUNT, 0.0)
    memory: int | None = setting(MEMORY)
    resources: Mapping[str, float] = setting(AMOUNTS, {})


Settings: TypeAlias = "LocalSettings | SlurmSettings | RaySettings"
_KINDS: dict[str, type[LocalSettings] | type[SlurmSettings] | type[RaySettings]] = {
    "local": LocalSettings,
    "slurm": SlurmSettings,
    "ray": RaySettings,
}


def parse_executor(node: Node | None, problems: list[Problem], path: str = PATH) -> Settings:
    """Read the section; without one, and of a wrong setting, the defaults.

    Args:
        node: a dict with `kind` and settings, or a kind alone; None where the config has none.
        problems: where all mistakes go.
    """
    if node is None:
        return LocalSettings()
    written = {"kind": node} if isinstance(node.value, str) else node.value
    if not isinstance(written, dict):
        message = f"the executor is a dict with a `kind`, or a kind; found {indefinite(node.plain())}"
        problems.append(Problem(message, node.origin, path, f"executor: {{kind: {' | '.join(_KINDS)}}}"))
        return LocalSettings()
    chosen = _kind(written, problems, path)
    if chosen is None:
        return LocalSettings()
    settings = chosen(**read_settings(chosen, written, problems, path, partial(_hint, chosen.kind)))
    _check_together(settings, written, problems, path)
    return settings


def _kind(
    written: Mapping[Any, Node], problems: list[Problem], path: str
) -> type[LocalSettings] | type[SlurmSettings] | type[RaySettings] | None:
    node = written.get("kind")
    if node is None:
        return LocalSettings
    name = node.plain()
    if isinstance(name, str) and name in _KINDS:
        return _KINDS[name]
    message = f"this executor is unknown; found {indefinite(name)}"
    problems.append(Problem(message, node.origin, join(path, "kind"), nearest(name, _KINDS)))
    return None


def _hint(kind: str, key: str, known: Sequence[str]) -> str:
    if ELSEWHERE.get(key) in known:
        return f"Did you mean `{ELSEWHERE[key]}`?"
    others = [name for name, other in _KINDS.items() if key in {each.name for each in fields(other)}]
    if others:
        return f"It is a setting of {' and '.join(f'`{name}`' for name in others)}."
    return hint_of_option(key, known) if kind == "slurm" else nearest(key, known)


def _check_together(settings: Settings, written: Mapping[Any, Node], problems: list[Problem], path: str) -> None:
    if isinstance(settings, SlurmSettings):
        check_notice(settings, written, problems, path)
    if isinstance(settings, LocalSettings) and settings.members_per_gpu > 1 and settings.gpus != 1:
        message = f"members that share a GPU have one; here `gpus` is {settings.gpus}"
        problems.append(Problem(message, written["members_per_gpu"].origin, join(path, "members_per_gpu"), "gpus: 1"))
