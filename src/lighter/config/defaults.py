"""Defaults added to an expanded tree: the run's folder, and logger definitions for short names."""

from __future__ import annotations

from typing import Any

from lighter.config.references import followed
from lighter.config.tree import SEPARATOR, Node, Origin, Source, join

FOLDER = f"run{SEPARATOR}folder"
"""Refers to the run's folder: `@run::folder`. Whoever builds objects for a run defines it."""

_IN_FOLDER = {"save_dir": f"@{FOLDER}"}
_LIGHTNINGS = "pytorch_lightning.loggers"
LOGGERS: dict[str, dict[str, Any]] = {
    "csv": {"_target_": "lighter.trainer.default_logger", "folder": f"@{FOLDER}"},
    # without them the events were in `lightning_logs/version_0`, which says nothing in a folder of one run
    "tensorboard": {"_target_": f"{_LIGHTNINGS}.TensorBoardLogger", **_IN_FOLDER, "name": "tensorboard", "version": ""},
    "wandb": {"_target_": f"{_LIGHTNINGS}.WandbLogger"},
    "mlflow": {"_target_": f"{_LIGHTNINGS}.MLFlowLogger"},
    "comet": {"_target_": f"{_LIGHTNINGS}.CometLogger"},
}
"""The definitions that short names stand for."""


def add_run_folder(root: Node) -> None:
    # A dict without a reference to it stays as it was written, for `lighter show` and the record.
    if not any(isinstance(node.value, str) and f"@run{SEPARATOR}" in node.value for _, node in root.walk()):
        return
    run = root.child("run")
    if run is None or run.value is None:
        run = root.value["run"] = Node({}, Origin(Source("default")))
    if isinstance(run.value, dict):
        run.value.setdefault("folder", Node(".", Origin(Source("default"))))


def name_loggers(root: Node) -> None:
    """Put definitions in the place of the loggers that the trainer is given by their names, alone or in a list."""
    trainer = root.find(followed(root, "trainer"))
    if trainer is None or not isinstance(trainer.value, dict) or "logger" not in trainer.value:
        return
    path = join(followed(root, "trainer"), "logger")
    several = root.find(followed(root, path))
    if several is not None and isinstance(several.value, list):
        path = followed(root, path)
        several.value[:] = [_named(root, join(path, index), item) for index, item in enumerate(several.value)]
    else:
        trainer.value["logger"] = _named(root, path, trainer.value["logger"])


def _named(root: Node, path: str, node: Node) -> Node:
    """Return the definition that a name stands for, at the name's place; any other value as it is."""
    name = root.find(followed(root, path))
    if name is None or not isinstance(name.value, str) or name.value not in LOGGERS:
        return node
    arguments = {key: Node(value, node.origin) for key, value in LOGGERS[name.value].items()}
    return Node(arguments, node.origin, node.key_origin)
