"""Configs of Lighter 0.0 to ours: `#` in paths, `_requires_`, `LighterSystem`, the writers' arguments."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Sequence
from pathlib import Path

from lighter.config.expression import absolute_if_any
from lighter.config.problems import Problem
from lighter.config.tree import SEPARATOR, Node, is_reference, is_target
from lighter.convert.gaps import Gaps
from lighter.convert.lighter_01 import renamed, with_known_sections
from lighter.convert.nodes import added, below, dict_of
from lighter.errors import ConfigError

_ID = re.compile(r"([@%])((?:[\w./-]+\.ya?ml)?)((?:#|::)*\w+(?:(?:#|::)\w+)*|(?:#|::)+\w+(?:(?:#|::)\w+)*)")
_SYSTEMS = ("lighter.LighterSystem", "lighter.system.LighterSystem", "lightningbringer.System")
_WRITERS = {"image": "image_2d", "itk_nifti": None, "itk_seg_nrrd": None, "itk_nrrd": None}
_KNOWN_WRITERS = ("tensor", "image_2d", "image_3d", "video", "text")
_REFERS = ("@", "%", "$")
_RENAMED = {"optimizers": "optimizer", "schedulers": "scheduler"}
_OF_LOADERS = ("batch_size", "num_workers", "pin_memory", "drop_last_batch", "collate_fn")
_NAMES = {"drop_last_batch": "drop_last"}
_MODES = ("train", "val", "test", "predict")


def convert(trees: Sequence[Node], folder: Path, gaps: Gaps) -> Node:
    """Return the converted tree of a config's files, a key of a later one in place of that of an earlier one.

    `folder` is where the converted config will be: `project` was relative to the working directory.
    """
    root = trees[0]
    _set_paths(root, root.value)
    for tree in trees[1:]:
        _set_paths(root, tree.value)
    for path, node in root.walk():
        if isinstance(node.value, str):
            node.value = _with_paths(node, path, gaps)
    _imports(root, gaps)
    _project(root, folder, gaps)
    _meta(root, gaps)
    system = root.value.get("system")
    if system is not None and isinstance(system.value, dict):
        _system(root, system, gaps)
    for path, node in root.walk():
        if is_target(node.value):
            _writer(node, path, gaps)
    return with_known_sections(root, gaps)


def _set_paths(root: Node, content: dict[object, Node]) -> None:
    """Lay keys over a tree; a key may be a path, `trainer#max_epochs`."""
    for key, node in list(content.items()):
        steps = str(key).replace("#", SEPARATOR).split(SEPARATOR)
        if len(steps) == 1:
            root.value[key] = node
            continue
        root.value.pop(key, None)
        holder: Node | None = root
        for step in steps[:-1]:
            if holder is not None and isinstance(holder.value, dict):
                holder.value.setdefault(step, added({}))
            holder = holder.child(step) if holder is not None else None
        _set(holder, steps[-1], node, str(key))


def _set(holder: Node | None, step: str, node: Node, path: str) -> None:
    if holder is not None and isinstance(holder.value, dict):
        holder.value[step] = node
    elif holder is not None and isinstance(holder.value, list) and holder.child(step) is not None:
        holder.value[int(step)] = node
    else:
        raise ConfigError([Problem("there is nothing at this path", node.place, path)])


def _with_paths(node: Node, path: str, gaps: Gaps) -> str:
    """Return a text with `::` between the steps of its references."""
    text = str(node.value)
    if text[:1] not in ("@", "%", "$"):
        return text
    if text.startswith("${"):
        gaps.open(node, path, f"`{text}`: interpolations are no part of Lighter", "Write a reference: `@a::b`.")
    if text.startswith("%") and re.match(r"%[\w./-]+\.ya?ml", text):
        gaps.open(node, path, f"`{text}` is in another file", "Convert that file too.")
    return _ID.sub(lambda match: match[1] + match[2] + _steps(match), text)


def _steps(match: re.Match[str]) -> str:
    steps = match[3].replace("#", SEPARATOR)
    return SEPARATOR + steps.lstrip(":") if match[2] else steps


def _imports(root: Node, gaps: Gaps) -> None:
    node = root.value.pop("_requires_", None)
    if node is None:
        return
    items = node.value if isinstance(node.value, list) else [*node.value.values()] if is_dict(node) else [node]
    names: dict[object, Node] = dict(root.section("_imports_"))
    for item in items:
        imported = _imported(str(item.value).removeprefix("$"))
        if imported is None:
            found = f"`{item.plain()}` is no import"
            gaps.open(item, "_requires_", found, "Write it into a module of your own, and import that: `_imports_`.")
        for name, module in (imported or {}).items():
            names[name] = added(module)
    if names:
        root.value["_imports_"] = below(node, names)


def is_dict(node: Node) -> bool:
    return isinstance(node.value, dict)


def _imported(code: str) -> dict[str, str] | None:
    """Return the names that an import statement binds, with what they stand for; None for other code."""
    try:
        statements = ast.parse(code.strip()).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    names: dict[str, str] = {}
    for statement in statements:
        if isinstance(statement, ast.Import):
            for alias in statement.names:
                names[alias.asname or alias.name.partition(".")[0]] = alias.name if alias.asname else _top(alias.name)
        elif isinstance(statement, ast.ImportFrom) and not statement.level and statement.module:
            names |= {alias.asname or alias.name: f"{statement.module}.{alias.name}" for alias in statement.names}
        else:
            return None
    return names if all(name != "*" for name in names) else None


def _top(module: str) -> str:
    return module.partition(".")[0]


def _project(root: Node, folder: Path, gaps: Gaps) -> None:
    """Write `project` relative to the file that says so; it was relative to the working directory."""
    node = root.value.get("project")
    if node is not None and isinstance(node.value, str) and not os.path.isabs(os.path.expanduser(node.value)):
        before, node.value = node.value, Path(os.path.relpath(node.value, folder)).as_posix()
        is_moved = node.value != Path(os.path.normpath(before)).as_posix()
        for path, child in root.walk() if is_moved else ():
            if isinstance(child.value, str) and "@project" in child.value:
                found = f"`@project` is now {node.value}, relative to the config; it was {before}"
                gaps.open(child, path, found, "Write the path, or `@run::folder`.")


def _meta(root: Node, gaps: Gaps) -> None:
    node = root.value.pop("_meta_", None)
    if node is not None:
        gaps.note(node, "_meta_", "it described the config", "Left out; a run is named by `run: {name: ...}`.")


def _system(root: Node, system: Node, gaps: Gaps) -> None:
    target = system.value.get("_target_")
    if target is not None and target.value in _SYSTEMS:
        target.value = "lighter.System"
    for old, new in _RENAMED.items():
        if old in system.value:
            system.value[new] = system.value.pop(old)
    _dataloaders(root, system)
    for key in (
        "postprocessing",
        "log_input_as",
        "log_target_as",
        "log_pred_as",
        "cast_target_dtype_to",
        "post_criterion_activation",
    ):
        node = system.value.pop(key, None)
        if node is not None and node.value is not None:
            write = "Write adapters, with their `*_transforms`: see docs/03-system-and-adapters.md."
            gaps.open(node, f"system::{key}", "a System has adapters in its place", write)


def _dataloaders(root: Node, system: Node) -> None:
    """Make dataloaders of the datasets that the first versions took, with their arguments."""
    datasets = dict(dict_of(system.value.get("datasets"), "system::datasets"))
    datasets |= _of_modes(system, "dataset")
    if not datasets:
        return
    _move_references(root, system, datasets)
    samplers = dict(dict_of(system.value.get("samplers"), "system::samplers"))
    samplers |= _of_modes(system, "sampler")
    shared = {key: system.value[key] for key in _OF_LOADERS if key in system.value}
    loaders = {
        mode: _loader(mode, node, shared, samplers.get(mode))
        for mode, node in datasets.items()
        if node.value is not None
    }
    for key in [key for key in system.value if str(key).rpartition("_")[1:] in (("_", "dataset"), ("_", "sampler"))]:
        del system.value[key]
    for key in ("datasets", "samplers", *_OF_LOADERS):
        system.value.pop(key, None)
    system.value["dataloaders"] = added(loaders)


def _of_mode(mode: str, kind: str) -> str:
    return f"{mode}_{kind}"


def _of_modes(system: Node, kind: str) -> dict[str, Node]:
    """Return what `train_dataset`, `val_dataset` and so on hold, by their modes."""
    return {mode: system.value[key] for mode in _MODES if (key := _of_mode(mode, kind)) in system.value}


def _move_references(root: Node, system: Node, datasets: dict[str, Node]) -> None:
    """Change references to the datasets, and make those within them absolute, before they move."""
    for path, node in system.walk("system"):
        if isinstance(node.value, str) and "dataset" in path and is_reference(node.value):
            node.value = absolute_if_any(path, node.value) or node.value
    old = {f"system::datasets::{mode}": mode for mode in datasets}
    old |= {f"system::{_of_mode(mode, 'dataset')}": mode for mode in datasets}
    new = {path: f"system::dataloaders::{mode}::dataset" for path, mode in old.items()}
    # What all loaders share is referred to in one of them; that of `train` keeps all of it.
    first = "train" if "train" in datasets else next(iter(datasets))
    new |= {f"system::{key}": f"system::dataloaders::{first}::{_NAMES.get(key, key)}" for key in _OF_LOADERS}
    for mode in datasets:
        sampler = f"system::dataloaders::{mode}::sampler"
        new |= {f"system::samplers::{mode}": sampler, f"system::{_of_mode(mode, 'sampler')}": sampler}
    renamed(root, new)


def _loader(mode: str, dataset: Node, shared: dict[str, Node], sampler: Node | None) -> Node:
    items = {"_target_": added("torch.utils.data.DataLoader"), "dataset": Node(dataset.value, dataset.origin)}
    items |= {_NAMES.get(key, key): node.copy() for key, node in shared.items()}
    if mode != "train":
        items.pop("drop_last", None)
    if sampler is not None and sampler.value is not None:
        items["sampler"] = sampler
    elif mode == "train":
        items["shuffle"] = added(True)
    return below(dataset, items)


def _writer(node: Node, path: str, gaps: Gaps) -> None:
    """Change the arguments of a writer of predictions."""
    name = str(node.value["_target_"].value)
    if not name.startswith("lighter.callbacks."):
        return
    short = name.rpartition(".")[2].removeprefix("Lighter")
    if short == "FileWriter" and "path" in node.value:
        _file_writer(node, path, gaps)
    elif short == "TableWriter" and "writer" in node.value:
        writer = node.value.pop("writer")
        if writer.value not in ("tensor", None):
            found = "a TableWriter has no writer: it writes what `pred` holds"
            gaps.open(writer, path, found, "Transform `pred` by a LoggingAdapter in `system::adapters::predict`.")
    elif short == "Logger":
        gaps.open(node, path, f"{name} is gone", "Write Lightning's loggers, or `logger: [tensorboard, wandb]`.")
    node.value["_target_"].value = f"lighter.callbacks.{short}"


def _file_writer(node: Node, path: str, gaps: Gaps) -> None:
    made = {"_target_": node.value["_target_"], "directory": node.value["path"]}
    made["value_key"] = added("pred")
    writer = node.value.get("writer", added("tensor"))
    if isinstance(writer.value, str) and writer.value in _WRITERS:
        function = _WRITERS[writer.value]
        if function is None:
            write = "Write a function of a path and a value: see docs/05-predictions.md, A file per sample."
            gaps.open(writer, path, f"there is no writer `{writer.value}`; here is `tensor`", write)
        writer = below(writer, function or "tensor")
    elif isinstance(writer.value, str) and writer.value[:1] not in _REFERS and writer.value not in _KNOWN_WRITERS:
        write = f"Write one of {', '.join(_KNOWN_WRITERS)}, or a function of a path and a value."
        gaps.open(writer, path, f"there is no writer `{writer.value}`", write)
    made["writer_fn"] = writer
    made |= {key: child for key, child in node.value.items() if key not in ("path", "writer", *made)}
    node.value = made
