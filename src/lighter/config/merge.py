"""Laying one tree over another: dicts merge, lists extend, everything else replaces.

In the tree above, `=key` replaces instead, `~key` deletes (a key, or a list of keys or indices), and a key that is
a path (`trainer::callbacks::0::patience`) edits what is there. Each of these is a problem where it has nothing to
work on. The result holds no operators.
"""

from __future__ import annotations

from lighter.config.problems import Problem, indefinite, nearest
from lighter.config.tree import SEPARATOR, Node, is_index, join, split


def merge(base: Node | None, over: Node, problems: list[Problem], path: str = "") -> Node:
    """The tree of `base` with `over` laid over it; without a base, `over` with its operators worked out."""
    if isinstance(over.value, list):
        items = [merge(None, item, problems, join(path, index)) for index, item in enumerate(over.value)]
        before = base.value if base is not None and isinstance(base.value, list) else []
        return Node([*before, *items], over.origin, over.key_origin)
    if not isinstance(over.value, dict):
        return over
    below = base.value if base is not None and isinstance(base.value, dict) else {}
    origin = base.origin if base is not None and below else over.origin
    result = Node(dict(below), origin, over.key_origin)
    for key, node in over.value.items():
        text = str(key)
        if text.startswith("~"):
            _delete(result, split(text[1:]), node, problems, path)
        elif SEPARATOR in text:
            edit(result, split(text.removeprefix("=")), node, problems, replace=text.startswith("="), path=path)
        elif text.startswith("="):
            result.value[text[1:]] = merge(None, node, problems, join(path, text[1:]))
        else:
            result.value[key] = merge(result.value.get(key), node, problems, join(path, text))
    return result


def edit(
    root: Node, steps: list[str], node: Node, problems: list[Problem], *, replace: bool = False, path: str = ""
) -> None:
    """Set (or replace) what stands at a path below `root`, making the dicts on the way; `root` is changed in place."""
    holder = _holder(root, steps, node, problems, path, create=True)
    if holder is None:
        return
    here = SEPARATOR.join([*split(path), *steps])
    below = None if replace else holder.child(steps[-1])
    _put(holder, steps[-1], merge(below, node, problems, here))


def delete(root: Node, steps: list[str], which: Node, problems: list[Problem]) -> None:
    """Delete what stands at a path below `root`, or of it only the keys or indices that `which` lists."""
    _delete(root, steps, which, problems, "")


def _delete(root: Node, steps: list[str], which: Node, problems: list[Problem], path: str) -> None:
    holder = _holder(root, steps, which, problems, path, create=False)
    if holder is None:
        return
    here = SEPARATOR.join([*split(path), *steps])
    if which.value is None or which.value == "":
        _remove(holder, steps[-1])
    elif not isinstance(which.value, list):
        found = indefinite(which.plain())
        problems.append(Problem(f"`~` takes nothing, or a list of what to delete; found {found}", which.origin, here))
    else:
        target = _copy(holder, steps[-1])
        _delete_items(target, which, problems, here)


def _delete_items(target: Node, which: Node, problems: list[Problem], path: str) -> None:
    listed = [str(item.plain()) for item in which.value]
    for item, step in zip(which.value, listed, strict=True):
        if target.child(step) is None:
            hint = nearest(step, target.steps())
            problems.append(Problem(f"`{step}` is not there to be deleted", item.origin, path, hint))
            return
    if isinstance(target.value, list):
        gone = {int(step) % len(target.value) for step in listed}
        target.value = [item for index, item in enumerate(target.value) if index not in gone]
    else:
        target.value = {key: node for key, node in target.value.items() if str(key) not in listed}


def _holder(
    root: Node, steps: list[str], node: Node, problems: list[Problem], path: str, *, create: bool
) -> Node | None:
    """The dict or list that the last step is in, copied all the way down so that no other tree sees the change."""
    where = node.key_origin or node.origin
    for number, step in enumerate(steps):
        here = SEPARATOR.join([*split(path), *steps[:number]])
        last = number == len(steps) - 1
        if not step:
            problems.append(Problem("a path has a name or an index between its `::`", where, join(here, "")))
            return None
        if isinstance(root.value, list):
            if root.child(step) is None:
                problems.append(_no_such_item(root, step, here, where))
                return None
        elif not isinstance(root.value, dict):
            hint = "It refers to another place: change that, or replace all of this with `=`."
            hint = hint if isinstance(root.value, str) and root.value[:1] in "@%$" else ""
            message = f"`{step}` cannot be set inside {indefinite(root.value)}"
            problems.append(Problem(message, where, here, hint))
            return None
        elif root.child(step) is None and not create:
            hint = nearest(step, root.steps())
            problems.append(Problem("there is nothing here to delete", where, join(here, step), hint))
            return None
        if last:
            return root
        root = _copy(root, step, make=create)
    return None


def _copy(holder: Node, step: str, *, make: bool = False) -> Node:
    """The child at a step, replaced by a copy of its own that may be changed; an empty dict where there is none."""
    old = holder.child(step)
    if old is None or (old.value is None and make):
        origin = old.origin if old is not None else holder.origin
        new = Node({}, origin)
    else:
        value = old.value.copy() if isinstance(old.value, (dict, list)) else old.value
        new = Node(value, old.origin, old.key_origin)
    _put(holder, step, new)
    return new


def _put(holder: Node, step: str, node: Node) -> None:
    if isinstance(holder.value, list):
        holder.value[int(step)] = node
    else:
        holder.value[_key(holder, step)] = node


def _remove(holder: Node, step: str) -> None:
    if isinstance(holder.value, list):
        del holder.value[int(step)]
    else:
        del holder.value[_key(holder, step)]


def _key(holder: Node, step: str) -> object:
    return step if step in holder.value else next((key for key in holder.value if str(key) == step), step)


def _no_such_item(holder: Node, step: str, path: str, where: object) -> Problem:
    size = len(holder.value)
    if is_index(step):
        message = f"there is no item {step}: the list has {size} item{'s' * (size != 1)}"
        hint = f"Its indices are 0 to {size - 1}; " if size else ""
        hint += f"`{path}=[...]` adds items at its end."
    else:
        message, hint = f"this is a list: its items are named by index, not `{step}`", ""
        hint = f"`{path}::0::{step}=...` edits the first." if size else ""
    return Problem(message, where, path, hint)  # type: ignore[arg-type]
