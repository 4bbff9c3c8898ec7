"""What is wrong with a merged tree, found before anything is imported or built."""

from __future__ import annotations

from lighter.config.problems import Problem, indefinite, nearest
from lighter.config.references import check_references
from lighter.config.tree import Node, is_target

SECTIONS = ("model", "system", "data", "trainer", "vars", "_imports_", "args", "seed", "project", "run")
STAGES = ("fit", "validate", "test", "predict")
_MODEL_EXAMPLE = (
    "model:\n  _target_: my_module.MyModule\n  network: {_target_: torch.nn.Linear, in_features: 64, out_features: 10}"
)


def check_sections(root: Node, problems: list[Problem]) -> None:
    """The top level: known sections, each of the right shape."""
    for key, node in root.value.items():
        if key not in SECTIONS:
            problems.append(
                Problem("this section is unknown", node.key_origin or node.origin, str(key), nearest(key, SECTIONS))
            )
    _check_model(root, problems)
    for section in ("data", "trainer", "vars", "_imports_", "args", "run"):
        node = root.child(section)
        if node is not None and not isinstance(node.value, dict) and node.value is not None and not _refers(node):
            problems.append(Problem(f"this section is a dict; found {indefinite(node.value)}", node.origin, section))
    seed = root.child("seed")
    if seed is not None and (not isinstance(seed.value, int) or isinstance(seed.value, bool) or seed.value < 0):
        problems.append(Problem(f"a seed is an integer from 0; found {indefinite(seed.value)}", seed.origin, "seed"))
    project = root.child("project")
    if project is not None and not isinstance(project.value, str):
        message = f"a project is the path of a folder; found {indefinite(project.value)}"
        problems.append(Problem(message, project.origin, "project"))
    _check_args(root, problems)


def check_expanded(root: Node, problems: list[Problem]) -> None:
    """A tree whose copies are worked out: references to something, targets that are names."""
    check_references(root, problems)
    for path, node in root.walk():
        if is_target(node.value):
            target = node.value["_target_"]
            if not isinstance(target.value, str) or not target.value.strip("."):
                message = (
                    f"`_target_` names a class or function, `package.module.Name`; found {indefinite(target.value)}"
                )
                problems.append(Problem(message, target.origin, path))
            args = node.value.get("_args_")
            if args is not None and not isinstance(args.value, list):
                problems.append(Problem(f"`_args_` is a list; found {indefinite(args.value)}", args.origin, path))


def _refers(node: Node) -> bool:
    return isinstance(node.value, str) and node.value[:1] in ("@", "%", "$")


def _check_model(root: Node, problems: list[Problem]) -> None:
    model, system = root.child("model"), root.child("system")
    if model is not None and system is not None:
        message = "a config has a `model` (with `data`) or a `system`, not both"
        problems.append(Problem(message, system.key_origin or system.origin, "system"))
        return
    section, node = ("system", system) if system is not None else ("model", model)
    if node is None:
        problems.append(Problem("there is no model", None, "model", f"Add one:\n{_MODEL_EXAMPLE}"))
    elif not is_target(node.value) and not _refers(node):
        found = indefinite(node.plain()) if not isinstance(node.value, dict) else "a dict without `_target_`"
        problems.append(
            Problem(f"`{section}` says which module to make; found {found}", node.origin, section, _MODEL_EXAMPLE)
        )


def _check_args(root: Node, problems: list[Problem]) -> None:
    args = root.child("args")
    if args is None or not isinstance(args.value, dict):
        return
    for key, node in args.value.items():
        if key not in STAGES:
            problems.append(
                Problem("this is no stage", node.key_origin or node.origin, f"args::{key}", nearest(key, STAGES))
            )
        elif not isinstance(node.value, dict) and node.value is not None:
            found = indefinite(node.value)
            problems.append(Problem(f"the arguments of a stage are a dict; found {found}", node.origin, f"args::{key}"))
