"""The top level of a config, and its sections that Lighter reads itself."""

from __future__ import annotations

import re

from lighter.config.check.other_tools import hint_of_section, is_of_cli
from lighter.config.problems import Problem, indefinite, nearest
from lighter.config.tree import SEPARATOR, Node, is_reference, is_target, join
from lighter.files.storage import is_remote

SECTIONS = (
    *("model", "system", "data", "trainer", "vars", "_imports_", "args", "seed", "project", "run", "experiment"),
    *("report", "launch", "parallel"),
)
STAGES = ("fit", "validate", "test", "predict")
RUN_OPTIONS = ("dir", "name")
MAX_SEED = 2**32 - 1
_DATA_EXAMPLE = "data:\n  _target_: lighter.LighterDataModule"
_MODEL_EXAMPLE = (
    "model:\n  _target_: my_module.MyModule\n  network: {_target_: torch.nn.Linear, in_features: 64, out_features: 10}"
)


def check_sections(merged: Node, problems: list[Problem]) -> None:
    """Check the top level as it was written: known sections, and literals where a value is needed early."""
    for key, node in merged.value.items():
        if key not in SECTIONS:
            hint = _hint_of(str(key), node, merged)
            problems.append(Problem("this section is unknown", node.place, str(key), hint))
    seed = merged.child("seed")
    if seed is not None and not (type(seed.value) is int and 0 <= seed.value <= MAX_SEED):
        message = f"a seed is an integer from 0 to {MAX_SEED}; found {indefinite(seed.value)}"
        problems.append(Problem(message, seed.origin, "seed"))
    project = merged.child("project")
    if project is not None and not isinstance(project.value, (str, type(None))):
        message = f"a project is the path of a folder; found {indefinite(project.value)}"
        problems.append(Problem(message, project.origin, "project"))


def _hint_of(key: str, node: Node, merged: Node) -> str:
    bare = key.lstrip("-+")
    steps = re.split(r"[.:#]+", bare)
    if steps[0] in SECTIONS and len(steps) > 1:
        return f"The steps of a path are joined by `::`: `{SEPARATOR.join(steps)}`."
    if steps[0] in SECTIONS and node.origin.source.is_override:
        return f"An override begins with its path, without `{key[: -len(bare)]}`: `{bare}::...`."
    module = "system" if merged.child("system") is not None else "model"
    return hint_of_section(key, module=module) or nearest(key, SECTIONS)


def check_expanded_sections(root: Node, problems: list[Problem]) -> None:
    """Check the sections of a tree whose copies are worked out: their shape, and the keys of our own."""
    _check_model(root, problems)
    for section in ("data", "trainer", "vars", "_imports_", "args", "run", "report", "parallel"):
        node = root.child(section)
        if node is None or isinstance(node.value, (dict, type(None))) or is_reference(node.value):
            continue
        if section not in ("data", "trainer") or not is_ready_made(node.value):
            problems.append(Problem(f"this section is a dict; found {indefinite(node.value)}", node.origin, section))
    data = root.child("data")
    if data is not None and isinstance(data.value, dict) and not (is_target(data.value) or is_of_cli(data.value)):
        _check_split_alone(root, data, problems)
    _check_args(root, problems)
    _check_run(root, problems)
    _check_imports(root, problems)


def _check_split_alone(root: Node, data: Node, problems: list[Problem]) -> None:
    """Add a problem for `data` that makes no data module, unless all it does is to split that of a `system`."""
    message, hint = "`data` says which data module to make; found a dict without `_target_`", _DATA_EXAMPLE
    if "split" in data.value and root.child("system") is not None:
        for key, node in data.value.items():
            if key != "split":
                message = "`data` without `_target_` only splits the data of a `system`"
                problems.append(Problem(message, node.place, join("data", key), nearest(key, ["split"])))
        return
    if [*data.value] == ["split"]:
        message = "`split` cuts the dataset of a data module's loaders, or of a `system`; here is neither"
    problems.append(Problem(message, data.origin, "data", hint))


def is_ready_made(value: object) -> bool:
    # No file could say it: a dict from Python brought the object itself.
    return not isinstance(value, (str, int, float, bytes, dict, list, type(None)))


def _check_model(root: Node, problems: list[Problem]) -> None:
    model, system = root.child("model"), root.child("system")
    if model is not None and system is not None:
        message = "a config has a `model` (with `data`) or a `system`, not both"
        problems.append(Problem(message, system.place, "system"))
        return
    section, node = ("system", system) if system is not None else ("model", model)
    if node is None:
        problems.append(Problem("there is no model", None, "model", f"Add one:\n{_MODEL_EXAMPLE}"))
    elif not (is_target(node.value) or is_reference(node.value) or is_of_cli(node.value) or is_ready_made(node.value)):
        written = indefinite(node.plain()) if not isinstance(node.value, dict) else "a dict without `_target_`"
        message = f"`{section}` says which module to make; found {written}"
        problems.append(Problem(message, node.origin, section, _MODEL_EXAMPLE.replace("model:", f"{section}:")))


def _check_args(root: Node, problems: list[Problem]) -> None:
    for key, node in root.section("args").items():
        path = join("args", key)
        if key not in STAGES:
            problems.append(Problem("this is no stage", node.place, path, nearest(key, STAGES)))
        elif not isinstance(node.value, (dict, type(None))) and not is_reference(node.value):
            message = f"the arguments of a stage are a dict; found {indefinite(node.value)}"
            problems.append(Problem(message, node.origin, path))


def _check_run(root: Node, problems: list[Problem]) -> None:
    for key, node in root.section("run").items():
        path = join("run", key)
        if key not in RUN_OPTIONS:
            problems.append(Problem("this option is unknown", node.place, path, nearest(key, RUN_OPTIONS)))
        elif not isinstance(node.value, str) or is_reference(node.value):
            message = f"`{path}` is text; found {indefinite(node.plain())}"
            problems.append(Problem(message, node.origin, path, _hint_of_text(key, node.value)))
        elif key == "dir" and is_remote(node.value):
            message = f"runs have their folders on a disk; {node.value} is in another storage"
            hint = "What the trainer saves may go there: `trainer::default_root_dir`."
            problems.append(Problem(message, node.origin, path, hint))


def _hint_of_text(key: str, value: object) -> str:
    # The run's folder is made before anything of the config is built.
    if isinstance(value, str):
        return "It is needed before references and expressions are worked out: write it out."
    return f'In quotes it is text: {key}: "{value}"' if isinstance(value, (int, float)) else ""


def _check_imports(root: Node, problems: list[Problem]) -> None:
    for name, node in root.section("_imports_").items():
        path = join("_imports_", name)
        if not str(name).isidentifier():
            problems.append(Problem("this is no name that an expression could use", node.place, path))
        if not isinstance(node.value, str):
            message = f"an import is a dotted name, such as `numpy`; found {indefinite(node.plain())}"
            problems.append(Problem(message, node.origin, path))
