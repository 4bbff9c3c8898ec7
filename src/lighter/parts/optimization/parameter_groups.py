"""Parameter groups by name, pattern or type, as torch's optimizers take them.

A name stands for the parameters of the module of that name; without one, for those whose name starts with it. A name
with `*`, `?` or a range of numbers is a pattern of such names. `{type: norm, name: backbone}` chooses parameters by the
modules that hold them. The narrower choice wins: `backbone.0` over `backbone`. None takes what no group took. Each
parameter is in one group at most.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Protocol, TypeVar

from torch import Tensor
from torch.nn import Parameter

from lighter.config.problems import nearest
from lighter.errors import MisfitError, ModuleValueError
from lighter.parts.describe import describe
from lighter.parts.optimization.parameter_names import shortened_names, with_modules, without_prefix
from lighter.parts.optimization.parameter_types import KINDS, Named, matches_type, no_such_type

Value = TypeVar("Value")


class Fail(Protocol):
    """Make an error from a message, the group's index, a hint, and the name in the config that it is about."""

    def __call__(self, message: str, index: int, hint: str, written: str = "") -> Exception: ...


_ONCE = "A parameter is in one group of one optimizer."
GROUP_HINT = "A name, a pattern like `*.bias`, a list of them, `{type: [norm, bias]}`, or null for the rest."
SELECTION_KEYS = ("name", "type")

_WILDCARD = re.compile(r"(\*|\?|\[\d+(?:[-,]\d+)+\])")  # a range as messages write it: `layer[1-4,7]`

_WRAPPERS = ("_fsdp_wrapped_module.", "_orig_mod.")  # what FSDP and torch.compile put into names


def as_written(name: str) -> str:
    for wrapper in _WRAPPERS:
        name = name.replace(wrapper, "")
    return name


def renamed_as_in(keys: Collection[str], state: Mapping[str, Value]) -> dict[str, Value]:
    # the module may be compiled where the one that saved it was not, or reversed
    by_plain = {as_written(name): name for name in keys}
    return {name if name in keys else by_plain.get(as_written(name), name): value for name, value in state.items()}


def _plain_error(message: str, index: int, hint: str, written: str = "") -> Exception:
    return ModuleValueError(f"parameter group {index}: {message}. {hint}")


def group_parameters(
    groups: Sequence[Any], named: Named, prefixes: Sequence[str] = (), fail: Fail = _plain_error
) -> list[dict[str, Any]]:
    """Turn the `params` of groups into trainable tensors.

    Groups are dicts with `params` and further options, or bare names. `params` is a name or a pattern, a dict with
    `type` and `name`, a list of these, None, or tensors. Names may leave out the prefixes.

    Raises:
        ModuleValueError: or what `fail` makes: a name that matches nothing, a group without `params` or left empty.
    """
    dicts = [dict(group) if isinstance(group, Mapping) else {"params": group} for group in groups]
    for index, group in enumerate(dicts):
        if "params" not in group:
            raise fail("a parameter group has `params`", index, GROUP_HINT)
        params = group["params"]
        if not _is_by_name(params):
            is_several = isinstance(params, Iterable) and not isinstance(params, Parameter)
            group["params"] = list(params) if is_several else [params]
    owners = _owners(dicts, named, prefixes, fail)
    for index, group in enumerate(dicts):
        if _is_by_name(group["params"]):
            group["params"] = [p for _, p in named if p.requires_grad and owners.get(id(p)) == index]
            if not group["params"]:
                raise fail("this parameter group is empty", index, "All its parameters are frozen or in other groups.")
    _check_apart(dicts, named, prefixes, fail)
    return dicts


def check_placed(
    placed: Iterable[Any], named: Named, prefixes: Sequence[str], fail: Callable[[str, str], Exception]
) -> None:
    """Check that each trainable parameter is in one group of one optimizer; raise what `fail` makes if not."""
    counts = Counter(id(parameter) for parameter in placed)
    absent = [name for name, p in named if p.requires_grad and not counts[id(p)]]
    twice = [name for name, p in named if counts[id(p)] > 1]
    every = [name for name, _ in named]
    if absent:
        names = shortened_names(absent, every, prefixes)
        raise fail(
            f"{_tensors_are(absent)} trainable, but in no parameter group: {names}",
            "An optimizer without `params` takes all, the group `{params: null}` takes the rest, and"
            "\n`finetune_cfg: {finetune: false, params: [...]}` freezes what it names.",
        )
    if twice:
        names = shortened_names(twice, every, prefixes)
        raise fail(f"{_tensors_are(twice)} in more than one parameter group: {names}", _ONCE)


def _check_apart(groups: Sequence[Mapping[str, Any]], named: Named, prefixes: Sequence[str], fail: Fail) -> None:
    # torch refuses a tensor in two groups too, without its name
    names = {id(parameter): name for name, parameter in named}
    seen: set[int] = set()
    for index, group in enumerate(groups):
        ids = {id(parameter) for parameter in group["params"]}
        shared = [names.get(each, "a tensor that is not of the module") for each in ids & seen]
        if shared:
            shown = shortened_names(shared, [*names.values()], prefixes)
            raise fail(f"{_tensors_are(shared)} in another parameter group too: {shown}", index, _ONCE)
        seen |= ids


def _tensors_are(names: Sequence[str]) -> str:
    return f"{len(names)} parameter{' is' if len(names) == 1 else 's are'}"


def is_by_name(groups: object) -> bool:
    return isinstance(groups, (list, tuple)) and any(isinstance(group, (Mapping, str)) for group in groups)


@dataclass(frozen=True)
class _Choice:
    """The parameters that a group names."""

    index: int  # of the group
    label: str  # as the user wrote it
    ids: frozenset[int]  # of the parameters


def _owners(groups: Sequence[Mapping[str, Any]], named: Named, prefixes: Sequence[str], fail: Fail) -> dict[int, int]:
    # tensors that were given; a name that takes one of them too is an error, by `_check_apart`
    owners = {id(p): i for i, group in enumerate(groups) if not _is_by_name(group["params"]) for p in group["params"]}
    choices = [
        _choice(item, index, named, prefixes, fail)
        for index, group in enumerate(groups)
        if group["params"] is not None
        for item in _selections(group["params"])
    ]
    for name, parameter in named:
        choosing = [choice for choice in choices if id(parameter) in choice.ids]
        if choosing:
            owners[id(parameter)] = _narrowest(choosing, without_prefix(name, prefixes), fail).index
    rest = next((index for index, group in enumerate(groups) if group["params"] is None), None)
    return owners if rest is None else {id(p): rest for _, p in named} | owners


def _narrowest(choices: Sequence[_Choice], name: str, fail: Fail) -> _Choice:
    # only a choice inside all the others is narrower; else the user has to say which group is meant
    narrowest = min(choices, key=lambda choice: (len(choice.ids), -len(choice.label), -choice.index))
    for other in choices:
        if other.index != narrowest.index and not narrowest.ids <= other.ids:
            raise fail(
                f"`{narrowest.label}` and group {other.index}'s `{other.label}` both take `{name}`",
                narrowest.index,
                "The narrower choice wins, and neither is part of the other. Give what both take a group of its own,"
                "\nfor example `{params: backbone.*.bias}` or `{params: {name: backbone, type: norm}}`.",
            )
    return narrowest


def _choice(item: object, index: int, named: Named, prefixes: Sequence[str], fail: Fail) -> _Choice:
    selection = item if isinstance(item, Mapping) else {"name": item}
    unknown = next((key for key in selection if key not in SELECTION_KEYS), None)
    if unknown is not None or not selection:
        hint = nearest(unknown, SELECTION_KEYS) if unknown is not None else GROUP_HINT
        raise fail(f"`params` as a dict has `name` and `type`; found {list(selection)}", index, hint)
    ids = {id(parameter) for _, parameter in named}
    if "name" in selection:
        ids &= _union(selection["name"], lambda name: _by_name(str(name), index, named, prefixes, fail))
    if "type" in selection:
        ids &= _union(selection["type"], lambda kind: _by_type(kind, index, named, fail))
    label = str(item) if not isinstance(item, Mapping) else ", ".join(f"{key}: {selection[key]}" for key in selection)
    if not ids:
        raise fail(f"there is no parameter for `{label}`", index, "")
    return _Choice(index, label, frozenset(ids))


def _union(given: object, find: Callable[[Any], set[int]]) -> set[int]:
    return {each for item in (given if isinstance(given, (list, tuple)) else [given]) for each in find(item)}


def _by_name(name: str, index: int, named: Named, prefixes: Sequence[str], fail: Fail) -> set[int]:
    matching = match_name(name, named, prefixes)
    if not matching:
        raise fail(no_such_name(name), index, nearest_name(name, named, prefixes), name)
    return matching


def _by_type(kind: object, index: int, named: Named, fail: Fail) -> set[int]:
    if not isinstance(kind, (str, type)):
        raise fail(f"`type` is `norm`, `bias` or the name of a class; found {describe(kind)}", index, "", str(kind))
    matching = {id(parameter) for name, parameter in named if matches_type(kind, name, parameter, named)}
    if not matching and kind not in KINDS:  # `[norm, bias]` also suits a network without normalisation
        raise fail(*no_such_type(kind, named, index), str(kind))
    return matching


def match_name(name: str, named: Sequence[tuple[str, Tensor]], prefixes: Sequence[str] = ()) -> set[int]:
    """Return the ids of the parameters of the module with this name; without one, of those that start with it.

    A pattern stands for all modules and parameters whose whole names fit it; its `*` crosses dots.
    """
    plain = [(as_written(full), parameter) for full, parameter in named]
    spellings = [(full, without_prefix(full, prefixes), id(parameter)) for full, parameter in plain]
    # with and without the prefix, so `network.head` and `head` are the same
    inside = {p for *both, p in spellings if any(is_in(each, name) for each in both)}
    if inside or is_pattern(name):
        return inside
    return {p for *both, p in spellings if any(each.startswith(name) for each in both)}


def match_all(
    names: Sequence[str], named: Sequence[tuple[str, Tensor]], prefixes: Sequence[str], key: str, kind: str
) -> set[int]:
    """Return the ids of the parameters that any of the names stands for, as `match_name` does.

    Raises:
        MisfitError: a name stands for none; `key` of the config has it, and `kind` is what it would name.
    """
    ids: set[int] = set()
    for name in names:
        matching = match_name(name, named, prefixes)
        if not matching:
            message = f"`{key}`: {no_such_name(name, kind)}. {nearest_name(name, named, prefixes)}"
            raise MisfitError(message, key.partition("::")[0], [(message, name)])
        ids |= matching
    return ids


def is_pattern(name: str) -> bool:
    return _WILDCARD.search(name) is not None


def is_in(spelling: str, name: str) -> bool:
    """Return whether a parameter or module is the one with a name, or inside of it; the name may be a pattern."""
    if not is_pattern(name):
        return spelling == name or spelling.startswith(f"{name}.")
    return any(_compiled(name).fullmatch(above) for above in with_modules(spelling))


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    parts = _WILDCARD.split(pattern)
    return re.compile("".join(_regex(part) if at % 2 else re.escape(part) for at, part in enumerate(parts)))


def _regex(wildcard: str) -> str:
    if not wildcard.startswith("["):
        return {"*": ".*", "?": "."}[wildcard]
    runs = [run.split("-") for run in wildcard[1:-1].split(",")]
    return f"(?:{'|'.join(str(n) for run in runs for n in range(int(run[0]), int(run[-1]) + 1))})"


def no_such_name(name: str, kind: str = "parameter") -> str:
    return f"no {kind}'s name {'fits the pattern' if is_pattern(name) else 'starts with'} `{name}`"


def nearest_name(name: str, named: Sequence[tuple[str, Tensor]], prefixes: Sequence[str] = ()) -> str:
    """Suggest the closest name of a parameter or module, or the topmost modules."""
    short = [without_prefix(as_written(full), prefixes) for full, _ in named]
    # in `*.wieght` the plain end is misspelt: the pattern as a whole is close to no name
    beginning, dot, last = name.rpartition(".")
    if is_pattern(name) and not is_pattern(last):
        ends = get_close_matches(last, sorted({each.split(".")[-1] for each in short}), n=1)
        if ends and match_name(f"{beginning}{dot}{ends[0]}", named, prefixes):
            return f"Did you mean `{beginning}{dot}{ends[0]}`?"
    close = get_close_matches(name, sorted({part for each in short for part in with_modules(each)}), n=1)
    if close:
        return f"Did you mean `{close[0]}`?"
    return f"There is: {', '.join(sorted({each.split('.')[0] for each in short}))}."


def _is_by_name(params: object) -> bool:
    return params is None or bool(_selections(params))


def _selections(params: object) -> list[Any]:
    listed = list(params) if isinstance(params, (list, tuple)) else [params]
    # otherwise they are tensors; numbers are names too, as a Sequential's modules are called 0, 1, ...
    return listed if all(isinstance(item, (str, int, Mapping)) for item in listed) else []
