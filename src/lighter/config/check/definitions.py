"""Definitions of objects: `_target_` and what may stand beside it."""

from __future__ import annotations

from lighter.config.check.other_tools import check_cli
from lighter.config.problems import Problem, close_to, closest, indefinite
from lighter.config.tree import MODES, SPECIAL, Node, is_reference, is_target, join

_OF_OTHERS = {  # the special keys of Hydra
    "_partial_": "To get a function instead of an object, write `_mode_: callable`.",
    "_recursive_": "Nested definitions are always made.",
    "_convert_": "Dicts and lists are handed over as they are.",
}


def check_definitions(root: Node, problems: list[Problem]) -> None:
    for path, node in root.walk():
        if not isinstance(node.value, dict):
            continue
        if is_target(node.value):
            _check_definition(path, node, problems)
        check_cli(path, node, problems)
        if path and "_base_" in node.value:
            base = node.value["_base_"]
            message = "`_base_` stands at the top of a file; to copy from another file here, write `%file.yaml::path`"
            problems.append(Problem(message, base.place, join(path, "_base_")))
        # At the top, every unknown key is a problem already.
        for key, child in node.value.items() if path else ():
            hint = hint_of_special(key)
            if hint and (is_target(node.value) or key not in _OF_OTHERS):
                problems.append(Problem("this special key is unknown", child.place, join(path, key), hint))


def _check_definition(path: str, node: Node, problems: list[Problem]) -> None:
    target = node.value["_target_"]
    if not isinstance(target.value, str) or not target.value.strip(". "):
        written = indefinite(target.plain() if not isinstance(target.value, (dict, list)) else target.value)
        message = f"`_target_` names a class or function, `package.module.Name`; found {written}"
        problems.append(Problem(message, target.origin, path))
    args = node.value.get("_args_")
    if args is not None and not isinstance(args.value, list) and not is_reference(args.value):
        problems.append(Problem(f"`_args_` is a list; found {indefinite(args.value)}", args.origin, path))
    mode = node.value.get("_mode_")
    if mode is not None and mode.value not in MODES and not is_reference(mode.value):
        message = f"`_mode_` is {', '.join(MODES[:-1])} or {MODES[-1]}; found {indefinite(mode.value)}"
        problems.append(Problem(message, mode.origin, path, closest(mode.value, MODES)))
    off = node.value.get("_disabled_")
    if off is not None and str(off.value).lower() not in ("true", "false") and not is_reference(off.value):
        message = f"`_disabled_` is true or false; found {indefinite(off.value)}"
        problems.append(Problem(message, off.origin, path))
    for key, child in node.value.items():
        if not isinstance(key, str):
            message = f"the arguments of a call have names; found {indefinite(key)}"
            problems.append(Problem(message, child.place, path))


def hint_of_special(key: object) -> str:
    """Return a hint for a key that looks like a special one; nothing where it is one, or just a name."""
    text = str(key)
    bare = text.strip("_").lower()
    if text not in (bare, "_target_") and bare != "targets" and close_to(bare, ["target"], cutoff=0.8):
        # Without `_target_`, what is meant as an object is a dict, and no error.
        return "Did you mean `_target_`?"
    if not (len(text) > 2 and text.startswith("_") and text.endswith("_")) or text in (*SPECIAL, "_base_", "_imports_"):
        return ""
    return _OF_OTHERS.get(text) or closest(text, SPECIAL)
