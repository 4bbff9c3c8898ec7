"""What is wrong with a merged tree, found before anything is imported or built."""

from __future__ import annotations

import ast
import warnings

from lighter.config.problems import Problem, closest, indefinite, nearest, shortened
from lighter.config.references import ANY_REFERENCE, check_references
from lighter.config.tree import Node, is_reference, is_target, join

SECTIONS = ("model", "system", "data", "trainer", "vars", "_imports_", "args", "seed", "project", "run")
STAGES = ("fit", "validate", "test", "predict")
MAX_SEED = 2**32 - 1
_MODES = ("default", "callable", "debug")
_MODEL_EXAMPLE = (
    "model:\n  _target_: my_module.MyModule\n  network: {_target_: torch.nn.Linear, in_features: 64, out_features: 10}"
)


def check_sections(merged: Node, problems: list[Problem]) -> None:
    """The top level, as it was written: known sections, and what must be a literal because it is needed early."""
    for key, node in merged.value.items():
        if key not in SECTIONS:
            hint = nearest(key, SECTIONS)
            if str(key).partition(".")[0] in SECTIONS:
                hint = f"The steps of a path are joined by `::`: `{str(key).replace('.', '::')}`."
            problems.append(Problem("this section is unknown", node.key_origin or node.origin, str(key), hint))
    seed = merged.child("seed")
    if seed is not None and not (type(seed.value) is int and 0 <= seed.value <= MAX_SEED):
        message = f"a seed is an integer from 0 to {MAX_SEED}; found {indefinite(seed.value)}"
        problems.append(Problem(message, seed.origin, "seed"))
    project = merged.child("project")
    if project is not None and not isinstance(project.value, (str, type(None))):
        message = f"a project is the path of a folder; found {indefinite(project.value)}"
        problems.append(Problem(message, project.origin, "project"))


def check_expanded(root: Node, problems: list[Problem]) -> None:
    """A tree whose copies are worked out: sections of the right shape, references to something, sound definitions."""
    _check_model(root, problems)
    for section in ("data", "trainer", "vars", "_imports_", "args", "run"):
        node = root.child(section)
        if node is not None and not isinstance(node.value, (dict, type(None))) and not is_reference(node.value):
            problems.append(Problem(f"this section is a dict; found {indefinite(node.value)}", node.origin, section))
    _check_args(root, problems)
    check_references(root, problems)
    for path, node in root.walk():
        if is_target(node.value):
            _check_definition(path, node, problems)
        elif isinstance(node.value, str) and node.value.startswith("$"):
            _check_expression(path, node, problems)
        elif isinstance(node.value, dict) and "_base_" in node.value:
            base = node.value["_base_"]
            message = "`_base_` stands at the top of a file; to copy from another file here, write `%file.yaml::path`"
            problems.append(Problem(message, base.key_origin or base.origin, join(path, "_base_")))


def _check_definition(path: str, node: Node, problems: list[Problem]) -> None:
    target = node.value["_target_"]
    if not isinstance(target.value, str) or not target.value.strip(". "):
        found = indefinite(target.value)
        message = f"`_target_` names a class or function, `package.module.Name`; found {found}"
        problems.append(Problem(message, target.origin, path))
    args = node.value.get("_args_")
    if args is not None and not isinstance(args.value, list) and not is_reference(args.value):
        problems.append(Problem(f"`_args_` is a list; found {indefinite(args.value)}", args.origin, path))
    mode = node.value.get("_mode_")
    if mode is not None and mode.value not in _MODES and not is_reference(mode.value):
        message = f"`_mode_` is {', '.join(_MODES[:-1])} or {_MODES[-1]}; found {indefinite(mode.value)}"
        problems.append(Problem(message, mode.origin, path, closest(mode.value, _MODES)))
    off = node.value.get("_disabled_")
    if off is not None and str(off.value).lower() not in ("true", "false") and not is_reference(off.value):
        message = f"`_disabled_` is true or false; found {indefinite(off.value)}"
        problems.append(Problem(message, off.origin, path))


def _check_expression(path: str, node: Node, problems: list[Problem]) -> None:
    reason = None
    text = ANY_REFERENCE.sub("_", node.value[1:].strip())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python's advice on style
            tree = ast.parse(text)
            if not tree.body or not isinstance(tree.body[0], (ast.Import, ast.ImportFrom)):
                compile(text, "<expression>", "eval")
    except SyntaxError as error:
        reason = error.msg
    except (ValueError, RecursionError, MemoryError) as error:
        reason = str(error) or "it is nested too deeply"
    if reason is not None:
        problems.append(Problem(f"this expression is not Python: {shortened(reason, 100)}", node.origin, path))


def _check_model(root: Node, problems: list[Problem]) -> None:
    model, system = root.child("model"), root.child("system")
    if model is not None and system is not None:
        message = "a config has a `model` (with `data`) or a `system`, not both"
        problems.append(Problem(message, system.key_origin or system.origin, "system"))
        return
    section, node = ("system", system) if system is not None else ("model", model)
    if node is None:
        problems.append(Problem("there is no model", None, "model", f"Add one:\n{_MODEL_EXAMPLE}"))
    elif not is_target(node.value) and not is_reference(node.value):
        found = indefinite(node.plain()) if not isinstance(node.value, dict) else "a dict without `_target_`"
        message = f"`{section}` says which module to make; found {found}"
        problems.append(Problem(message, node.origin, section, _MODEL_EXAMPLE.replace("model:", f"{section}:")))


def _check_args(root: Node, problems: list[Problem]) -> None:
    args = root.child("args")
    if args is None or not isinstance(args.value, dict):
        return
    for key, node in args.value.items():
        where, path = node.key_origin or node.origin, f"args::{key}"
        if key not in STAGES:
            problems.append(Problem("this is no stage", where, path, nearest(key, STAGES)))
        elif not isinstance(node.value, (dict, type(None))) and not is_reference(node.value):
            found = indefinite(node.value)
            problems.append(Problem(f"the arguments of a stage are a dict; found {found}", node.origin, path))
