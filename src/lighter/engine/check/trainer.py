"""The arguments of the trainer, as far as they can be told without the machine that it runs on.

Names of strategies and accelerators are held against Lightning's registries. Of the other arguments that are plain
values, Lightning is asked: a trainer of one CPU process is made of them and thrown away.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from lighter.config.annotations import UNKNOWN
from lighter.config.check.calls import plain
from lighter.config.defaults import LOGGERS
from lighter.config.problems import indefinite, nearest
from lighter.config.tree import Node, disabled, is_reference, is_target, join
from lighter.engine.check.constructors import is_known, refused
from lighter.engine.check.found import Found
from lighter.engine.check.metrics import is_factory
from lighter.engine.lightning_classes import inherits

# What it depends on which machine runs it, what changes torch for the whole process, and what is made by the config.
_NOT_ASKED = frozenset(
    {"accelerator", "benchmark", "callbacks", "default_root_dir", "deterministic", "devices", "logger", "num_nodes"}
    | {"plugins", "precision", "strategy", "sync_batchnorm"}
)
_AT_LEAST_ONE = ("accumulate_grad_batches", "check_val_every_n_epoch", "num_nodes")
_DEVICES = re.compile(r"auto|-1|\d+(\s*,\s*\d+)*\s*,?")
_KINDS = {  # what Lightning asks of the objects that it is given
    "callbacks": ("callback", "state_key", "pytorch_lightning.callbacks.EarlyStopping, monitor: val/loss/epoch"),
    "logger": ("logger", "log_metrics", "pytorch_lightning.loggers.CSVLogger, save_dir: logs"),
    "profiler": ("profiler", "profile", "pytorch_lightning.profilers.SimpleProfiler"),
}
_PACKAGES = {  # what has to be installed for Lightning's loggers, one of these, by the names of their modules
    "TensorBoardLogger": ("tensorboard", "tensorboardX"),
    "WandbLogger": ("wandb",),
    "MLFlowLogger": ("mlflow",),
    "CometLogger": ("comet_ml",),
}
_SWITCHES = {"enable_checkpointing": "Checkpoint", "enable_progress_bar": "ProgressBar"}


def check_trainer(found: Found) -> None:
    """Add a problem for each argument that Lightning's trainer refuses, or that is known to fail."""
    path = found.followed("trainer")
    kind, node = found.kind(path), found.tree.find(path)
    if not inherits(kind, "Trainer") or node is None or not isinstance(node.value, dict):
        return
    wrong = {problem.path for problem in found.problems}
    values = {str(key): plain(child) for key, child in node.value.items() if join(path, key) not in wrong}
    of_values = [*_misnamed(values), *_out_of_range(values), *_no_loggers(values)]
    for key, message, hint in [*of_values, *_against_callbacks(found, values)]:
        found.problem(message, join(path, key), hint)
        values.pop(key, None)
    if found.asks and set(values) <= _parameters() | _own_arguments():
        for key, message, hint in _refused_by_lightning(values):
            found.problem(f"Trainer: {message}", join(path, key) if key else path, hint)
    _check_kinds(found)
    _check_packages(found)
    _check_twice(found)


def _check_kinds(found: Found) -> None:
    """Callbacks, loggers and profilers are such, by what they have rather than by their class."""
    for key, (noun, attribute, example) in _KINDS.items():
        for path, kind in _objects(found, key):
            if kind is not None and not is_factory(kind) and not hasattr(kind, attribute):
                found.problem(f"this is no {noun}: {kind.__name__}", path, f"A {noun}: {{_target_: {example}}}")


def _check_packages(found: Found) -> None:
    """Add a problem for each logger of Lightning's whose package is not installed: it says so only when it is made."""
    for path, kind in _objects(found, "logger"):
        if not isinstance(kind, type):
            continue
        for needed in filter(None, (_PACKAGES.get(each.__name__) for each in kind.__mro__)):
            if not any(name in sys.modules or find_spec(name) for name in needed):
                package = needed[0].replace("_", "-")
                hint = f"pip install {package}"
                found.problem(f"{kind.__name__} needs the package `{package}`, which is not installed", path, hint)


def _parameters() -> set[str]:
    import inspect

    from pytorch_lightning import Trainer

    return {*inspect.signature(Trainer).parameters, "_target_"}


def _own_arguments() -> set[str]:
    from lighter.trainer import OWN_ARGUMENTS

    return set(OWN_ARGUMENTS)


def _misnamed(values: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Names that Lightning does not have."""
    from pytorch_lightning.accelerators import AcceleratorRegistry
    from pytorch_lightning.strategies import StrategyRegistry

    known = {
        "strategy": ["auto", *StrategyRegistry.available_strategies()],
        "accelerator": ["auto", "gpu", *sorted(AcceleratorRegistry.available_accelerators())],
    }
    for key, names in known.items():
        value = values.get(key)
        if isinstance(value, str) and (value.lower() if key == "strategy" else value) not in names:
            yield key, f"there is no {key} `{value}`", nearest(value, names)


def _out_of_range(values: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Numbers that Lightning takes, and fails of."""
    for key in _AT_LEAST_ONE:
        value = values.get(key)
        if isinstance(value, (int, float)) and value < 1:
            yield key, f"`{key}` is at least 1; found {indefinite(value)}", ""
    if values.get("val_check_interval") == 0 and isinstance(values["val_check_interval"], int):
        yield "val_check_interval", "`val_check_interval` is at least 1, or a part of an epoch; found 0", ""
    devices = values.get("devices", "auto")
    if not _are_devices(devices):
        example = "How many (2, or -1 for all), which ([0, 2]), or `auto`."
        yield "devices", f"these are no devices: {indefinite(devices)}", example


def _no_loggers(values: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield what stands for a logger and is none; names that there are stand for definitions by now."""
    given = values.get("logger")
    several = isinstance(given, list)
    for index, value in enumerate(given if isinstance(given, list) else [given]):
        key = join("logger", index) if several else "logger"
        if isinstance(value, str):
            yield key, f"there is no logger `{value}`", nearest(value, LOGGERS)
        elif several and isinstance(value, (int, float)):
            yield key, f"a logger is an object or a name; found {indefinite(value)}", f"Names: {', '.join(LOGGERS)}."


def _are_devices(value: Any) -> bool:
    if isinstance(value, str):
        return _DEVICES.fullmatch(value) is not None and value != "0"
    if isinstance(value, list):
        return bool(value) and (UNKNOWN in value or len(set(map(str, value))) == len(value))
    return not isinstance(value, (int, float)) or value == -1 or value >= 1


def _against_callbacks(found: Found, values: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Something that is switched off, and there."""
    from pytorch_lightning import callbacks

    for key, base in _SWITCHES.items():
        kind = getattr(callbacks, base)
        there = [each for _, each in _callbacks(found) if each is not None and issubclass(each, kind)]
        if values.get(key) is False and there:
            yield key, f"this switches off what `callbacks` has: {there[0].__name__}", "Leave one of them out."


def _callbacks(found: Found) -> Iterator[tuple[str, type | None]]:
    return _objects(found, "callbacks")


def _objects(found: Found, key: str) -> Iterator[tuple[str, type | None]]:
    """Yield the path and the class of each object in an argument of the trainer, alone or in a list."""
    given = found.argument("trainer", key)
    if given is None or is_reference(given[1].value):
        return
    path, node = given
    for here in [join(path, step) for step in node.steps()] if isinstance(node.value, list) else [path]:
        if not _is_off(found.node(here)):
            yield here, found.kind(here)


def _is_off(node: Node) -> bool:
    return disabled(node.value) is not False


def _check_twice(found: Found) -> None:
    """Two callbacks with a state that are the same: their states have one name in the checkpoint."""
    seen: dict[tuple[Any, ...], str] = {}
    for path, kind in _callbacks(found):
        node = found.tree.find(found.followed(path))
        stateful = (
            kind is not None and not _is_callbacks_own(kind, "state_dict") and _is_callbacks_own(kind, "state_key")
        )
        named = kind is not None and kind.__name__ in ("ModelCheckpoint", "EarlyStopping")
        if node is None or not is_target(node.value) or not (stateful or named):
            continue
        arguments = plain(Node({key: child for key, child in node.value.items() if key != "_target_"}, node.origin))
        key = (kind, repr(arguments) if named else "")
        if "object object" not in key[1] and key in seen:
            message = f"this is the second {kind.__name__ if kind else ''} like this one; Lightning takes one"
            found.problem(message, path, f"The first is `{seen[key]}`.")
        seen.setdefault(key, path)


def _is_callbacks_own(kind: type, name: str) -> bool:
    """Return whether a callback has the method of Lightning's `Callback`, and none of its own."""
    return getattr(kind, name, None) in [
        getattr(base, name) for base in kind.__mro__ if base.__name__ == "Callback" and name in vars(base)
    ]


def _refused_by_lightning(values: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield the arguments that Lightning's own constructor refuses, one after the other."""
    from pytorch_lightning import Trainer

    from lighter.engine.trial import without_advice

    own = _own_arguments() | {"_target_"}
    asked = {key: value for key, value in values.items() if key not in _NOT_ASKED | own and is_known(value)}
    if values.get("accelerator") == "cpu" and is_known(values.get("devices")) and "devices" in values:
        asked["devices"] = values["devices"]
    if values.get("barebones") is True and values.get("logger", False) not in (False, None):
        asked["logger"] = True

    def make(**arguments: Any) -> Any:
        return Trainer(**{"accelerator": "cpu", "devices": 1, "logger": False, **arguments})

    with without_advice():
        yield from refused(make, asked)
