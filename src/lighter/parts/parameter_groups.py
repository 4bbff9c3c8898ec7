"""Parameter groups by name, as torch's optimizers take them.

A name takes the parameters of the module of that name; where there is none, those whose name starts with it. The
longest matching name wins, None takes what no group took. Each parameter is in one group at most.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, TypeVar

from torch import Tensor
from torch.nn import Parameter

from lighter.errors import ModuleValueError
from lighter.parts.parameter_names import shortened_names, with_modules, without_prefix

Value = TypeVar("Value")
Named = Sequence[tuple[str, Parameter]]
Fail = Callable[[str, int, str], Exception]

_ONCE = "A parameter is in one group of one optimizer."


_WRAPPERS = ("_fsdp_wrapped_module.", "_orig_mod.")  # what FSDP and torch.compile put into names


def as_written(name: str) -> str:
    """A parameter's name as the user's code spells it, whatever wraps the modules around it."""
    for wrapper in _WRAPPERS:
        name = name.replace(wrapper, "")
    return name


def renamed_as_in(own: Collection[str], state: Mapping[str, Value]) -> dict[str, Value]:
    """A state dict with the names that a module has, which may be compiled where the one that saved it was not."""
    by_plain = {as_written(name): name for name in own}
    return {name if name in own else by_plain.get(as_written(name), name): value for name, value in state.items()}


def _plain_error(message: str, index: int, hint: str) -> Exception:
    return ModuleValueError(f"parameter group {index}: {message}. {hint}")


def group_parameters(
    groups: Sequence[Any], named: Named, prefixes: Sequence[str] = (), fail: Fail = _plain_error
) -> list[dict[str, Any]]:
    """Groups whose `params` are trainable tensors.

    Args:
        groups: dicts with `params` (a name, a list of names, None, or tensors) and further options; or bare names.
        named: the parameters to choose from, with their names.
        prefixes: what a name may leave out, `network.` say.
        fail: makes the error from a message, the group's index and a hint.

    Raises:
        ModuleValueError: or what `fail` makes: a name that matches nothing, a group without `params` or left empty.
    """
    dicts = [dict(group) if isinstance(group, Mapping) else {"params": group} for group in groups]
    for index, group in enumerate(dicts):
        if "params" not in group:
            raise fail("a parameter group has `params`", index, "A name, a list of names, or null for the rest.")
        if not _is_by_name(group["params"]):
            group["params"] = _tensors(group["params"])
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
    """Each trainable parameter is in one group of one optimizer.

    Args:
        placed: the parameters of all groups of all optimizers.
        named: the parameters of the module, with their names.
        prefixes: what a name may leave out, `network.` say.
        fail: makes the error from a message and a hint.

    Raises:
        Exception: what `fail` makes.
    """
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
    """Groups that were given as tensors have none of another group's."""
    names = {id(parameter): name for name, parameter in named}
    seen: set[int] = set()
    for index, group in enumerate(groups):
        ids = {id(parameter) for parameter in group["params"]}
        again = [names.get(each, "a tensor that is not of the module") for each in ids & seen]
        if again:
            shown = shortened_names(again, [*names.values()], prefixes)
            raise fail(f"{_tensors_are(again)} in another parameter group too: {shown}", index, _ONCE)
        seen |= ids


def _tensors_are(names: Sequence[str]) -> str:
    return f"{len(names)} parameter{' is' if len(names) == 1 else 's are'}"


def is_by_name(groups: Any) -> bool:
    """Whether an optimizer's `params` is something that this module has to look at."""
    return isinstance(groups, (list, tuple)) and any(isinstance(group, (Mapping, str)) for group in groups)


def _owners(groups: Sequence[Mapping[str, Any]], named: Named, prefixes: Sequence[str], fail: Fail) -> dict[int, int]:
    """The index of the group that each parameter is in, by the parameter's id."""
    owners = {id(p): i for i, group in enumerate(groups) if not _is_by_name(group["params"]) for p in group["params"]}
    wanted = [(name, index) for index, group in enumerate(groups) for name in _names(group["params"])]
    for name, index in sorted(wanted, key=lambda want: len(want[0])):
        found = match_name(name, named, prefixes)
        if not found:
            hint = nearest_name(name, named, prefixes)
            raise fail(f"no parameter's name starts with `{name}`", index, hint)
        owners |= dict.fromkeys(found, index)
    rest = next((index for index, group in enumerate(groups) if group["params"] is None), None)
    if rest is not None:
        owners = {id(p): rest for _, p in named} | owners
    return owners


def match_name(name: str, named: Sequence[tuple[str, Tensor]], prefixes: Sequence[str] = ()) -> set[int]:
    """The ids of the parameters of the module with this name; where there is none, of those that start with it."""
    plain = [(as_written(full), parameter) for full, parameter in named]
    spellings = [(full, without_prefix(full, prefixes), id(parameter)) for full, parameter in plain]
    inside = {p for *both, p in spellings if any(each == name or each.startswith(f"{name}.") for each in both)}
    return inside or {p for *both, p in spellings if any(each.startswith(name) for each in both)}


def nearest_name(name: str, named: Sequence[tuple[str, Tensor]], prefixes: Sequence[str] = ()) -> str:
    """A sentence with the closest name of a parameter or module, or with the topmost modules."""
    short = [without_prefix(as_written(full), prefixes) for full, _ in named]
    close = get_close_matches(name, sorted({part for each in short for part in with_modules(each)}), n=1)
    return (
        f"Did you mean `{close[0]}`?" if close else f"There is: {', '.join(sorted({n.split('.')[0] for n in short}))}."
    )


def _is_by_name(params: Any) -> bool:
    return params is None or bool(_names(params))


def _names(params: Any) -> list[str]:
    listed = params if isinstance(params, (list, tuple)) else [params]
    by_name = all(isinstance(item, (str, int)) for item in listed)  # a Sequential's modules are called 0, 1, ...
    return [str(item) for item in listed] if by_name else []


def _tensors(params: Any) -> list[Any]:
    return list(params) if isinstance(params, Iterable) and not isinstance(params, Parameter) else [params]
