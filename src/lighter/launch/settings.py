"""The resources of a job of SLURM, as a dataclass, and the reading of such sections of a config.

A setting says what it accepts, and reads a plain value; the same table makes the messages. Nothing is imported for it,
so a config for SLURM is checked on a laptop that has none.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, NamedTuple, TypeVar

from lighter.config.problems import Problem, indefinite, nearest
from lighter.config.tree import Node, join

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT])i?B?", re.IGNORECASE)
_CLOCK = re.compile(r"(?:(?P<days>\d+)-)?(?P<clock>\d+(?::\d\d){0,2})")
# Names of the same things in sbatch, submitit and Ray.
ELSEWHERE = {
    "cpus_per_task": "cpus",
    "num_cpus": "cpus",
    "gpus_per_node": "gpus",
    "num_gpus": "gpus",
    "mem": "memory",
    "mem_gb": "memory",
    "timeout_min": "time",
    "ntasks_per_node": "tasks",
    "tasks_per_node": "tasks",
    "array_parallelism": "workers",
    "n_jobs": "workers",
    "max_concurrent": "workers",
}
# Options of sbatch that are made here, by name: the setting that they are made of, or why they are as they are.
_MADE_HERE = {
    **{name: name for name in ("partition", "account", "qos", "constraint", "gres", "nodes", "time", "requeue")},
    "cpus-per-task": "cpus",
    "gpus-per-node": "gpus",
    "mem": "memory",
    "ntasks-per-node": "tasks",
    "no-requeue": "requeue",
    "signal": "notice",
    "job-name": "The queue is asked for the job by its name.",
    **dict.fromkeys(("output", "error", "open-mode"), "What a job prints is in the run's folder, for all its starts."),
    "array": "A job is one run; many fits are an experiment: lighter sweep",
    **dict.fromkeys(("parsable", "quiet", "test-only", "wait"), "Its number is read from what sbatch prints at once."),
}

_T = TypeVar("_T")


class Kind(NamedTuple):
    """Values that a setting accepts: their description in messages, and a function that reads one (ValueError)."""

    description: str
    read: Callable[[Any], object]


def _only(kind: type[_T], description: str, holds: Callable[[_T], bool] = lambda value: True) -> Kind:
    def read(value: Any) -> object:
        if isinstance(value, bool) or not isinstance(value, kind) or not holds(value):
            raise ValueError
        return value

    return Kind(description, read)


def _amount(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
        raise ValueError
    return float(value)


def _bytes(value: Any) -> int:
    match = _SIZE.fullmatch(str(value).strip())
    if match is None:
        raise ValueError
    return math.ceil(float(match[1]) * float(1024 ** ("KMGT".index(match[2].upper()) + 1)))


def _minutes(value: Any) -> int:
    # as in `sbatch --time`: MINUTES, MM:SS, HH:MM:SS, D-HH, D-HH:MM, D-HH:MM:SS; seconds round up
    match = None if isinstance(value, bool) else _CLOCK.fullmatch(str(value).strip())
    if match is None:
        raise ValueError
    steps = [int(step) for step in match["clock"].split(":")]
    if match["days"] is not None or len(steps) == 3:
        hours, minutes, seconds = [*steps, 0, 0][:3]
    else:
        hours, (minutes, seconds) = 0, [*steps, 0][:2]
    total = (int(match["days"] or 0) * 24 + hours) * 60 + minutes + -(-seconds // 60)
    if total < 1:
        raise ValueError
    return total


def _lines(value: Any) -> tuple[str, ...]:
    lines = value.splitlines() if isinstance(value, str) else value
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise ValueError
    return tuple(lines)


def _scalars(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(each, (str, int, float)) for each in value.values()):
        raise ValueError
    return {str(key): each for key, each in value.items()}


def _amounts(value: Any) -> dict[str, float]:
    return {key: _amount(each) for key, each in _scalars(value).items()}


COUNT = _only(int, "an integer from 1 on", lambda value: value >= 1)
COUNT_OR_NONE = _only(int, "an integer from 0 on", lambda value: value >= 0)
AMOUNT = Kind("a number from 0 on", _amount)
TEXT = _only(str, "a text")
MEMORY = Kind("a size with its unit, such as 16GB", _bytes)
TIME = Kind("a time as sbatch has it: minutes, HH:MM:SS or D-HH:MM:SS", _minutes)
LINES = Kind("lines of a shell script: a text or a list of texts", _lines)
OPTIONS = Kind("a dict of options", _scalars)
AMOUNTS = Kind("a dict of numbers from 0 on", _amounts)


def setting(kind: Kind, default: Any = None) -> Any:
    """Make a field of a dataclass of settings."""
    if isinstance(default, dict):
        return field(default_factory=dict, metadata={"kind": kind})
    return field(default=default, metadata={"kind": kind})


@dataclass(frozen=True)
class JobSettings:
    """The resources of a job of SLURM: sbatch's options, under the names that other schedulers share.

    Attributes:
        cpus: of a task.
        gpus: on each node.
        memory: on each node, in bytes.
        time: the limit of one job in minutes; a fit that needs longer is requeued and resumes.
        notice: seconds before the limit at which a fit is told to save.
        nodes: of a job.
        tasks: processes on each node that SLURM starts; of 1, Lightning starts those of a node's devices itself.
        setup: shell lines before the start: `module load cuda`.
        options: any other of sbatch's: `{reservation: course}`.
    """

    kind: ClassVar[str] = "slurm"
    whose: ClassVar[str] = "the fit"
    cpus: int = setting(COUNT, 1)
    gpus: int = setting(COUNT_OR_NONE, 0)
    memory: int | None = setting(MEMORY)
    time: int | None = setting(TIME)
    notice: int = setting(COUNT, 120)
    nodes: int = setting(COUNT, 1)
    tasks: int = setting(COUNT, 1)
    partition: str | None = setting(TEXT)
    account: str | None = setting(TEXT)
    qos: str | None = setting(TEXT)
    constraint: str | None = setting(TEXT)
    gres: str | None = setting(TEXT)
    setup: tuple[str, ...] = setting(LINES, ())
    options: Mapping[str, Any] = setting(OPTIONS, {})


def read_settings(
    chosen: type[Any],
    written: Mapping[Any, Node],
    problems: list[Problem],
    path: str,
    hint: Callable[[str, Sequence[str]], str],
) -> dict[str, Any]:
    """Read the values of a section, as arguments of the dataclass `chosen`.

    Args:
        written: the section's keys; `kind` is left out.
        problems: where all mistakes go.
        hint: says of an unknown key, given the known ones, what may be meant.
    """
    known = {each.name: each for each in fields(chosen)}
    values = {}
    for key, node in written.items():
        if key == "kind":
            continue
        if key not in known:
            message = f"`{chosen.kind}` has no such setting"
            problems.append(Problem(message, node.place, join(path, key), hint(str(key), list(known))))
            continue
        value, kind = node.plain(), known[key].metadata["kind"]
        # null says what leaving it out says
        if value is None and known[key].default is None:
            continue
        try:
            values[key] = kind.read(value)
        except ValueError:
            message = f"`{key}` is {kind.description}; found {indefinite(value)}"
            problems.append(Problem(message, node.origin, join(path, key), _hint_of_value(value)))
            continue
        if kind is OPTIONS:
            problems.extend(_made_here(node, join(path, key), list(known)))
    return values


def _made_here(options: Node, path: str, known: Sequence[str]) -> Iterator[Problem]:
    """Yield a problem for each of sbatch's options that is not the user's to set, or has a setting of its own."""
    for key, node in options.value.items():
        # submitit writes them so
        name = str(key).replace("_", "-")
        made_of = _MADE_HERE.get(name)
        if made_of is None:
            continue
        hint = f"Use the setting `{made_of}` beside `options`." if made_of in known else made_of
        message = f"Lighter makes the option `{name}` of sbatch itself"
        yield Problem(message, node.origin, join(path, str(key)), hint if " " in hint else "Leave it out.")


def hint_of_option(key: str, known: Sequence[str]) -> str:
    """Return what may be meant by an unknown setting of a job."""
    if ELSEWHERE.get(key) in known:
        return f"Did you mean `{ELSEWHERE[key]}`?"
    return f"{nearest(key, known)}\nAny other option of sbatch: options: {{{key.replace('_', '-')}: ...}}"


def check_notice(settings: JobSettings, written: Mapping[Any, Node], problems: list[Problem], path: str) -> None:
    """Add a problem for a notice that is longer than the job."""
    if "notice" in written and settings.time is not None and settings.notice >= settings.time * 60:
        message = f"{settings.whose} would be told to stop {settings.notice} s before the end of {settings.time} min"
        problems.append(Problem(message, written["notice"].origin, join(path, "notice")))


def _hint_of_value(value: object) -> str:
    is_worked_out = isinstance(value, str) and value[:1] in ("@", "$", "%")
    return "It is needed before references and expressions are worked out: write it out." if is_worked_out else ""
