"""Nodes of the sections `space` and `zip` to parameters, with all their problems.

In `space`, each dict is a step of the way to a config path, until a parameter stands there. In a subtree, each dict is
a value of the config, unless a parameter stands there, and a list is a value.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from lighter.config.problems import Problem, close_to, indefinite, nearest
from lighter.config.tree import SEPARATOR, Node, is_target, join
from lighter.experiments.parameters import Choices, Option, Parameter, Range, Steps, Subtrees, is_same

SEARCH = "experiment::search"
_RANGE_KEYS = ("from", "to", "scale", "step")
_SCALES = ("linear", "log")
_FORMS = "A parameter is a list of choices, a range {from: 1, to: 9}, or {choose: {name: subtree, ...}}."


def parse_parameters(space: Node, problems: list[Problem]) -> list[Parameter]:
    """Return the parameters of the section `space`."""
    return [*_on_the_way(space, (), problems)]


def parse_zip(node: Node, problems: list[Problem]) -> list[Parameter]:
    """Return the parameters of the section `zip`: a dict of paths with their lists, or a list of such dicts."""
    groups = node.value if isinstance(node.value, list) else [node]
    parsed = (_rows(group, problems) for group in groups)
    return [choices for choices in parsed if choices is not None]


def _on_the_way(node: Node, steps: Steps, problems: list[Problem]) -> Iterator[Parameter]:
    name = SEPARATOR.join(map(str, steps))
    place = join(join(SEARCH, "space"), name) if name else join(SEARCH, "space")
    if steps and (isinstance(node.value, list) or _is_parameter(node)):
        parameter = _Parser(place, problems).parameter(node, steps, name)
        if parameter is not None:
            yield parameter
    elif isinstance(node.value, dict) and (not steps or _leads_on(node)):
        for key, child in node.children():
            yield from _on_the_way(child, (*steps, key), problems)
    else:
        problems.append(_no_parameter(node, place))


def _leads_on(node: Node) -> bool:
    """Return whether a dict is a step of the way to paths, rather than a parameter with wrong keys."""
    children = [child for _, child in node.children()]
    is_path = len(children) == 1 and close_to(node.steps()[0], (*_RANGE_KEYS, "choose")) is None
    return is_path or any(isinstance(child.value, (dict, list)) for child in children)


def _no_parameter(node: Node, place: str) -> Problem:
    for key in node.steps() if isinstance(node.value, dict) else ():
        close = close_to(key, (*_RANGE_KEYS, "choose"))
        if close not in (None, key):
            return Problem(f"a parameter has no `{key}`", node.place, place, f"Did you mean `{close}`?\n{_FORMS}")
    return Problem(f"this is no parameter: {indefinite(node.plain())}", node.place, place, _FORMS)


def _is_parameter(node: Node) -> bool:
    value = node.value
    if not isinstance(value, dict) or is_target(value):
        return False
    # In a subtree, `{to: cuda}` is an ordinary argument.
    is_range = any(key in value and _is_number(value[key].value) for key in ("from", "to"))
    return is_range or ("choose" in value and isinstance(value["choose"].value, (dict, list)))


class _Parser:
    """Parse the parameter at a place of the section, and those inside its subtrees."""

    def __init__(self, place: str, problems: list[Problem]) -> None:
        self.place, self.problems = place, problems

    def problem(self, message: str, node: Node, hint: str = "", step: object = None) -> None:
        place = self.place if step is None else join(self.place, step)
        self.problems.append(Problem(message, node.place, place, hint))

    def parameter(self, node: Node, steps: Steps, name: str) -> Parameter | None:
        if isinstance(node.value, list):
            return self.choices(node, node, steps, name)
        chosen = node.value.get("choose")
        if chosen is None:
            return self.range(node, steps, name)
        self.check_keys(node, ("choose",))
        if isinstance(chosen.value, list):
            return self.choices(node, chosen, steps, name)
        return self.subtrees(node, chosen, steps, name)

    def check_keys(self, node: Node, allowed: Sequence[str]) -> bool:
        """Add a problem for each key that is not allowed; return whether there is none."""
        unknown = [(key, child) for key, child in node.children() if key not in allowed]
        for key, child in unknown:
            if isinstance(child.value, (dict, list)):
                hint = "Leave one of them out, or search over subtrees: {choose: {name: subtree, ...}}."
                self.problem(
                    f"this path is inside another one of the space, `{_path_of(self.place)}`", child, hint, key
                )
            else:
                self.problem("a parameter has no such key", child, nearest(key, allowed), key)
        return not unknown

    def choices(self, node: Node, listed: Node, steps: Steps, name: str) -> Choices | None:
        values = [item.plain() for item in listed.value]
        if not values:
            self.problem("there is nothing to choose from: the list is empty", node)
            return None
        for index, item in enumerate(listed.value):
            if any(is_same(values[index], value) for value in values[:index]):
                self.problem(f"this choice is written twice: {indefinite(values[index])}", item, step=index)
        return Choices(name, (steps,), tuple((value,) for value in values), node.place)

    def range(self, node: Node, steps: Steps, name: str) -> Range | None:
        if not self.check_keys(node, _RANGE_KEYS):
            return None
        ends = [self.number(node, key) for key in ("from", "to")]
        step = self.number(node, "step") if "step" in node.value else None
        scale = node.value["scale"].value if "scale" in node.value else "linear"
        if scale not in _SCALES:
            self.problem(f"a scale is linear or log; found {indefinite(scale)}", node.value["scale"], step="scale")
        if None in ends or scale not in _SCALES or ("step" in node.value and step is None):
            return None
        low, high = (end for end in ends if end is not None)
        if not self.check_range(node, low, high, step, scale == "log"):
            return None
        is_integer = type(low) is int and type(high) is int and type(step) in (int, type(None))
        low, high = (low, high) if is_integer else (float(low), float(high))
        step = 1 if is_integer and step is None and scale != "log" else step
        return Range(name, steps, low, high, step, scale == "log", is_integer, node.place)

    def number(self, node: Node, key: str) -> int | float | None:
        child = node.value.get(key)
        if child is None:
            self.problem(f"a range has two ends; `{key}` is missing", node, "For example: {from: 1, to: 9}")
        elif _is_number(child.value):
            number: int | float = child.value
            return number
        else:
            self.problem(f"`{key}` is a number; found {indefinite(child.plain())}", child, step=key)
        return None

    def check_range(self, node: Node, low: float, high: float, step: float | None, is_log: bool) -> bool:
        before = len(self.problems)
        if low > high:
            self.problem(
                f"this range is empty: {low} is above {high}", node, f"Turned round: {{from: {high}, to: {low}}}"
            )
        if low == high:
            self.problem(f"this range has one value: both ends are {low}", node, "Set it in the config instead.")
        if is_log and min(low, high) <= 0:
            hint = "Both ends are above 0; 0 itself may be a choice beside others."
            self.problem(f"a range from {low} has no log scale", node.value["from"], hint, "from")
        if step is not None and is_log:
            hint = "Leave out `step`, or list the values: [1, 10, 100]"
            self.problem("a range on a log scale has no steps", node.value["step"], hint, "step")
        elif step is not None and step <= 0:
            self.problem(f"a step is above 0; found {step}", node.value["step"], step="step")
        elif step is not None and low < high and step > high - low:
            message = f"this step of {step} is larger than the range, which is {high - low:g} wide"
            self.problem(message, node.value["step"], step="step")
        return len(self.problems) == before

    def subtrees(self, node: Node, chosen: Node, steps: Steps, name: str) -> Subtrees | None:
        if not chosen.value:
            self.problem("there is nothing to choose from: `choose` has no options", node)
            return None
        outside = self.place
        options: list[Option] = []
        for key, child in chosen.value.items():
            self.place = join(join(outside, "choose"), key)
            option = self.option(str(key), child, f"{name}({key})")
            if option is not None and any(_are_same(option, other) for other in options):
                self.problem("this option is the same as one before", child)
            options += [option] if option is not None else []
        self.place = outside
        return Subtrees(name, steps, tuple(options), node.place) if len(options) == len(chosen.value) else None

    def option(self, key: str, node: Node, name: str) -> Option | None:
        if not isinstance(node.value, dict) or _is_parameter(node):
            hint = "Values without names are a list: {choose: [a, b]}. It may have references: ['%vars::small', ...]."
            self.problem(f"an option is a subtree; found {indefinite(node.plain())}", node, hint)
            return None
        before = len(self.problems)
        parameters = [*self.inside(node, (), name)]
        return Option(key, node.plain(), tuple(parameters)) if len(self.problems) == before else None

    def inside(self, node: Node, steps: Steps, name: str) -> Iterator[Parameter]:
        """Yield the parameters in a subtree; all other dicts and lists there are values."""
        for key, child in node.children():
            here, outside = join(name, key), self.place
            self.place = join(outside, key)
            if _is_parameter(child):
                parameter = self.parameter(child, (*steps, key), here)
                if parameter is not None:
                    yield parameter
            else:
                yield from self.inside(child, (*steps, key), here)
            self.place = outside


def _rows(group: Node, problems: list[Problem]) -> Choices | None:
    place = join(SEARCH, "zip")
    before = len(problems)
    lists = [*_lists(group, (), problems)]
    sizes = {len(node.value) for _, node in lists}
    paths = [SEPARATOR.join(map(str, steps)) for steps, _ in lists]
    if len(sizes) > 1:
        lengths = ", ".join(f"{path} has {len(node.value)}" for path, (_, node) in zip(paths, lists, strict=True))
        problems.append(Problem("values that go together are lists of one length", group.place, place, f"{lengths}."))
    elif len(lists) < 2 and len(problems) == before:
        hint = "zip: {model::width: [64, 128], model::depth: [2, 4]}"
        problems.append(Problem("`zip` takes two paths or more, each with a list", group.place, place, hint))
    elif 0 in sizes:
        problems.append(Problem("there is nothing to choose from: the lists are empty", group.place, place))
    if len(problems) > before:
        return None
    rows = [*zip(*(node.plain() for _, node in lists), strict=True)]
    for index, row in enumerate(rows):
        if any(is_same([*row], [*other]) for other in rows[:index]):
            problems.append(Problem(f"row {index} is written twice: {[*row]}", lists[0][1].value[index].place, place))
    return Choices(", ".join(paths), tuple(steps for steps, _ in lists), tuple(rows), group.place)


def _lists(node: Node, steps: Steps, problems: list[Problem]) -> Iterator[tuple[Steps, Node]]:
    if isinstance(node.value, list) and steps:
        yield steps, node
    elif isinstance(node.value, dict):
        for key, child in node.children():
            yield from _lists(child, (*steps, key), problems)
    else:
        message = f"values that go together are lists; found {indefinite(node.plain())}"
        problems.append(Problem(message, node.place, SEPARATOR.join(map(str, (SEARCH, "zip", *steps)))))


def _are_same(one: Option, other: Option) -> bool:
    return not one.parameters and not other.parameters and is_same(one.tree, other.tree)


def _path_of(place: str) -> str:
    return place.removeprefix(join(SEARCH, "space") + SEPARATOR)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)
