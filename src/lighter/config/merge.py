"""Laying one tree over another: dicts merge, lists extend, everything else replaces.

In the tree above, `=key` replaces instead, `~key` deletes (a key, or a list of keys or indices), and a key that is
a path (`trainer::callbacks::0::patience`) edits what is there. Each of these is a problem where it has nothing to
work on. The result holds no operators. It is made of the nodes of both trees: they are used up.
"""

from __future__ import annotations

from lighter.config.problems import Problem, indefinite, nearest, shortened
from lighter.config.tree import MAX_DEPTH, SEPARATOR, Node, Origin, is_index, is_reference, join, same_key, split

_OF_OTHER_PATHS = ("experiment::search::space::", "experiment::search::zip")


def merge(base: Node | None, over: Node, problems: list[Problem], path: str = "") -> Node:
    """Return the tree of `base` with `over` laid over it; without a base, `over` with its operators worked out."""
    if isinstance(over.value, list):
        items = [merge(None, item, problems, join(path, index)) for index, item in enumerate(over.value)]
        before = base.value if base is not None and isinstance(base.value, list) else []
        return Node([*before, *items], over.origin, over.key_origin)
    if not isinstance(over.value, dict):
        return over
    result = Node({}, over.origin, over.key_origin)
    if base is not None and isinstance(base.value, dict):
        # An empty dict has nothing that was written in the base, so it counts as written above.
        result = Node(base.value, base.origin if base.value else over.origin, over.key_origin)
    for key, node in over.value.items():
        _lay(result, key, node, problems, path)
    return result


def _lay(result: Node, key: object, node: Node, problems: list[Problem], path: str) -> None:
    """Lay one key of the tree above over `result`, with its operator if it has one."""
    text = str(key)
    operator, name = (text[0], text[1:]) if text[:1] in ("=", "~") else ("", text)
    if operator and (not name or name[0] in "=~"):
        message = f"`{operator}` is followed by one key or path; found `{key}`"
        problems.append(Problem(message, node.place, path))
    elif operator == "~":
        delete(result, split(name), node, problems, path)
    elif SEPARATOR in name:
        edit(result, split(name), node, problems, replace=operator == "=", path=path)
    else:
        same = same_key(result.value, name)
        if same not in result.value:
            if operator:
                problems.append(_nothing_to_replace(result, name, node, path))
                return
            same = key
        # `=key` replaces: what was below is not merged with it.
        below = None if operator else result.value.get(same)
        result.value[same] = merge(below, node, problems, join(path, name))


def edit(
    root: Node, steps: list[str], node: Node, problems: list[Problem], *, replace: bool = False, path: str = ""
) -> None:
    """Set (or replace) what stands at a path below `root`, making the dicts on the way; `root` is changed in place."""
    holder = _holder(root, steps, node.place, problems, path, create=True)
    if holder is None:
        return
    here = SEPARATOR.join([*split(path), *steps])
    before = holder.child(steps[-1])
    if replace and before is None:
        problems.append(_nothing_to_replace(holder, steps[-1], node, here.rpartition(SEPARATOR)[0]))
        return
    made = merge(None if replace else before, node, problems, here)
    if isinstance(holder.value, list):
        holder.value[int(steps[-1])] = made
    else:
        holder.value[same_key(holder.value, steps[-1])] = made


def delete(root: Node, steps: list[str], which: Node, problems: list[Problem], path: str = "") -> None:
    """Delete what stands at a path below `root`, or of it only the keys or indices that `which` lists."""
    holder = _holder(root, steps, which.place, problems, path, create=False)
    if holder is None:
        return
    here = SEPARATOR.join([*split(path), *steps])
    if which.value is None or which.value == "":
        del holder.value[int(steps[-1]) if isinstance(holder.value, list) else same_key(holder.value, steps[-1])]
    elif not isinstance(which.value, list) or not which.value:
        written = "an empty list" if which.value == [] else indefinite(which.plain())
        problems.append(Problem(f"`~` takes nothing, or a list of what to delete; found {written}", which.origin, here))
    else:
        target = holder.child(steps[-1])
        if target is not None:
            _delete_items(target, which, problems, here)


def _delete_items(target: Node, which: Node, problems: list[Problem], path: str) -> None:
    listed = [str(item.plain()) for item in which.value]
    for item, step in zip(which.value, listed, strict=True):
        if target.child(step) is None:
            message = f"`{shortened(step, 60)}` is not there to be deleted"
            hint = nearest(step, target.steps()) or f"There is {indefinite(target.plain())}."
            if isinstance(target.value, list) and target.value:
                hint = f"Its indices are 0 to {len(target.value) - 1}."
            problems.append(Problem(message, item.origin, path, hint))
            return
    if isinstance(target.value, list):
        # Together, since one deletion would move the indices of the next.
        gone = {int(step) % len(target.value) for step in listed}
        target.value = [item for index, item in enumerate(target.value) if index not in gone]
    else:
        target.value = {key: node for key, node in target.value.items() if str(key) not in listed}


def _nothing_to_replace(holder: Node, step: str, node: Node, path: str) -> Problem:
    hint = f"{nearest(step, holder.steps())}\nWithout the `=`, it is set.".lstrip()
    return Problem("there is nothing here to replace", node.place, join(path, step), hint)


def _holder(
    root: Node, steps: list[str], where: Origin, problems: list[Problem], path: str, *, create: bool
) -> Node | None:
    """Return the dict or list that the last step is in; None, and a problem, where none can be made."""
    here = path
    for number, step in enumerate(steps):
        problem = _obstacle(root, step, here, where, create=create)
        if len(steps) > MAX_DEPTH:
            problem = Problem(f"this path has more than {MAX_DEPTH} steps", where)
        if problem is not None:
            problems.append(problem)
            return None
        if number == len(steps) - 1:
            return root
        here = join(here, step)
        # The paths of a search space are no places here: the list of `callbacks::0` is in the config that is searched.
        may_make = not is_index(steps[number + 1]) or here.startswith(_OF_OTHER_PATHS)
        root = _enter(root, step, where, make={} if may_make else None)
    return None


def _enter(holder: Node, step: str, where: Origin, make: dict | None) -> Node:
    child = holder.child(step)
    if child is not None and (child.value is not None or make is None):
        return child
    # `a: null` is a key that somebody left empty, to be filled in from above.
    new = Node(make, child.origin if child is not None else where)
    if isinstance(holder.value, list):
        holder.value[int(step)] = new
    elif make is not None:
        holder.value[same_key(holder.value, step)] = new
    return new


def _obstacle(root: Node, step: str, here: str, where: Origin, *, create: bool) -> Problem | None:
    if not step:
        return Problem("a path has a name or an index between its `::`", where, join(here, ""))
    if isinstance(root.value, list):
        return None if root.child(step) is not None else _no_such_item(root, step, here, where)
    if not isinstance(root.value, dict):
        if root.value is None and is_index(step):
            message = f"there is no list here that could have an item {step}"
            return Problem(message, where, here, f"`{here}=[...]` makes one.")
        hint = f"It stands for another place: change that, or replace it: `={here}=...`."
        hint = hint if is_reference(root.value) else ""
        return Problem(f"`{step}` cannot be found inside {indefinite(root.value)}", where, here, hint)
    if not create and root.child(step) is None:
        return Problem("there is nothing here to delete", where, join(here, step), nearest(step, root.steps()))
    return None


def _no_such_item(holder: Node, step: str, path: str, where: Origin) -> Problem:
    size = len(holder.value)
    if is_index(step):
        message = f"there is no item {step}: the list has {size} item{'s' * (size != 1)}"
        hint = f"Its indices are 0 to {size - 1}; " if size else ""
        hint += f"`{path}=[...]` adds items at its end."
    else:
        message = f"this is a list: its items are named by index, not `{step}`"
        hint = f"`{path}::0::{step}=...` edits the first." if size else ""
    return Problem(message, where, path, hint)
