"""A search of Hydra (`hydra.sweeper`) as the section `experiment`."""

from __future__ import annotations

import re
from typing import Any

from lighter.config import yaml
from lighter.config.problems import Problems
from lighter.config.tree import SEPARATOR, Node, Source
from lighter.convert.gaps import Gaps
from lighter.convert.interpolation import Places
from lighter.convert.nodes import added

_CALL = re.compile(r"(\w+)\((.*)\)\Z", re.DOTALL)
_MOST_VALUES = 1000
_METHODS = {"TPESampler": "tpe", "RandomSampler": "random", "GridSampler": "grid"}


def convert_search(sweeper: Node, metric: Node | None, places: Places, gaps: Gaps) -> Node | None:
    """Return the section `experiment` of a sweeper's section; None where it has no parameters."""
    space = {}
    for key, node in {**sweeper.section("search_space"), **sweeper.section("params")}.items():
        place = places(tuple(str(key).lstrip("+").split(".")))
        values = _values(node)
        if place is None or len(place) < 2 or values is None:
            found = "a parameter that is no value of the config" if values is not None else f"`{node.plain()}`"
            write = "Write it into `experiment::search::space`: see docs/10-experiments.md."
            gaps.open(node, f"hydra.sweeper.params.{key}", found, write)
        else:
            space[SEPARATOR.join(place)] = values
    if not space:
        return None
    search = added({"space": added(space), "method": added(_method(sweeper))})
    trials = sweeper.child("n_trials")
    if trials is not None and type(trials.value) is int:
        search.value["trials"] = trials
    objective = _objective(sweeper, metric, gaps)
    return added({**({} if objective is None else {"objective": objective}), "search": search})


def _objective(sweeper: Node, metric: Node | None, gaps: Gaps) -> Node | None:
    direction = sweeper.child("direction")
    if metric is None or not isinstance(metric.value, str) or "${" in metric.value:
        found = "what is optimized is what the script returns"
        gaps.open(sweeper, "hydra.sweeper", found, "Write `experiment: {objective: min NAME}`, of a logged value.")
        return None
    best = "max" if direction is not None and str(direction.value) == "maximize" else "min"
    return added(f"{best} {metric.value}")


def _method(sweeper: Node) -> str:
    sampler = sweeper.section("sampler").get("_target_")
    named = str(sampler.value).rpartition(".")[2] if sampler is not None else ""
    is_optuna = sweeper.child("sampler") is not None or sweeper.child("n_trials") is not None
    return _METHODS.get(named, "tpe" if is_optuna else "grid")


def _values(node: Node) -> Node | None:
    """Return a range or a list of choices of Hydra's words: `interval(0.1, 1)`, `choice(a, b)`, `1,2,3`."""
    if isinstance(node.value, dict):
        return _distribution({key: child.value for key, child in node.value.items()})
    text = str(node.value).strip()
    call = _CALL.match(text)
    if call is None:
        values = _list(text)
        return added([added(value) for value in values]) if values and len(values) > 1 else None
    return _call(call[1], call[2])


def _call(name: str, inside: str) -> Node | None:
    if name in ("tag", "int", "float"):
        tag, _, rest = inside.partition(",") if name == "tag" else ("", "", inside)
        call = _CALL.match(rest.strip())
        made = _call(call[1], call[2]) if call is not None else None
        if made is not None and isinstance(made.value, dict) and tag.strip() == "log":
            made.value["scale"] = added("log")
        return made
    values = _list(inside)
    if values is None:
        return None
    if name == "choice":
        return added([added(value) for value in values])
    if name == "interval" and len(values) == 2:
        return added({"from": added(values[0]), "to": added(values[1])})
    return _range(values) if name == "range" else None


def _range(values: list[Any]) -> Node | None:
    """Return the values of `range(start, stop, step)`; None where it has none, or more than a search can try."""
    is_range = 1 <= len(values) <= 3 and all(type(value) is int for value in values)
    if not is_range or values[2:] == [0]:
        return None
    first = [added(value) for value in range(*values)[: _MOST_VALUES + 1]]
    return added(first) if 0 < len(first) <= _MOST_VALUES else None


def _distribution(given: dict[Any, Any]) -> Node | None:
    """Return a range of the older way to write it: `{type: float, low: 0.1, high: 1, log: true}`."""
    low, high = given.get("low"), given.get("high")
    if low is None or high is None:
        return None
    scale = {"scale": added("log")} if given.get("log") else {}
    step = {"step": added(given["step"])} if given.get("step") else {}
    return added({"from": added(low), "to": added(high), **step, **scale})


def _list(text: str) -> list[Any] | None:
    """Return the values of `1, 2, a`; None where they are no plain values."""
    problems = Problems()
    node = yaml.parse(Source("values", f"[{text}]"), problems)
    if node is None or problems or not isinstance(node.value, list):
        return None
    values = node.plain()
    return None if any(isinstance(value, (dict, list)) for value in values) else values
