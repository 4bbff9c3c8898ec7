"""The arguments of the trainer, as far as they can be told without the machine that it runs on.

Names of strategies and accelerators are held against Lightning's registries. Of the other arguments that are plain
values, Lightning is asked: a trainer of one CPU process is made of them and thrown away.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.accelerators import AcceleratorRegistry
from pytorch_lightning.callbacks import Checkpoint, ProgressBar
from pytorch_lightning.strategies import StrategyRegistry

from lighter.config.annotations import UNKNOWN
from lighter.config.check.calls import plain
from lighter.config.defaults import LOGGERS
from lighter.config.problems import indefinite, nearest
from lighter.config.tree import Node, is_target, join
from lighter.engine.check.constructors import is_known, refused
from lighter.engine.check.context import Context
from lighter.engine.check.metrics import is_factory
from lighter.engine.trial import without_advice
from lighter.trainer import OWN_ARGUMENTS

# Arguments that depend on the machine, that change torch for the whole process, or that are made by the config.
_NOT_ASKED = frozenset(
    {"accelerator", "benchmark", "callbacks", "default_root_dir", "deterministic", "devices", "logger", "num_nodes"}
    | {"plugins", "precision", "strategy", "sync_batchnorm"}
)
AT_LEAST_ONE = ("accumulate_grad_batches", "check_val_every_n_epoch", "num_nodes")
DEVICES = re.compile(r"auto|-1|\d+(\s*,\s*\d+)*\s*,?")
_KINDS = {  # an attribute that Lightning asks of the objects that it is given
    "callbacks": ("callback", "state_key", "pytorch_lightning.callbacks.EarlyStopping, monitor: val/loss/epoch"),
    "logger": ("logger", "log_metrics", "pytorch_lightning.loggers.CSVLogger, save_dir: logs"),
    "profiler": ("profiler", "profile", "pytorch_lightning.profilers.SimpleProfiler"),
}
# The packages that Lightning's loggers need, one of these, by the names of their modules.
_PACKAGES = {
    "TensorBoardLogger": ("tensorboard", "tensorboardX"),
    "WandbLogger": ("wandb",),
    "MLFlowLogger": ("mlflow",),
    "CometLogger": ("comet_ml",),
}
_SWITCHES: dict[str, type] = {"enable_checkpointing": Checkpoint, "enable_progress_bar": ProgressBar}
# The key of an argument, a message and a hint.
Mistakes = Iterator[tuple[str, str, str]]


def check_trainer(context: Context) -> None:
    """Add a problem for each argument that Lightning's trainer refuses, or that is known to fail."""
    path = context.followed("trainer")
    kind, node = context.kind(path), context.tree.find(path)
    if kind is None or not issubclass(kind, pl.Trainer) or node is None or not isinstance(node.value, dict):
        return
    wrong = {problem.path for problem in context.problems}
    values = {str(key): plain(child) for key, child in node.value.items() if join(path, key) not in wrong}
    mistakes = [*_misnamed(values), *_out_of_range(values), *_no_loggers(values), *_switched_off(context, values)]
    for key, message, hint in mistakes:
        context.problem(message, join(path, key), hint)
        values.pop(key, None)
    allowed = {*inspect.signature(pl.Trainer).parameters, *OWN_ARGUMENTS, "_target_"}
    if context.constructs and set(values) <= allowed:
        for key, message, hint in _refused_by_lightning(values):
            context.problem(f"Trainer: {message}", join(path, key) if key else path, hint)
    _check_kinds(context)
    _check_packages(context)
    _check_twice(context)


def known_names() -> dict[str, list[str]]:
    """Return the names of strategies, in any case, and of accelerators that Lightning knows."""
    return {
        "strategy": ["auto", *StrategyRegistry.available_strategies()],
        "accelerator": ["auto", "gpu", *sorted(AcceleratorRegistry.available_accelerators())],
    }


def _misnamed(values: dict[str, Any]) -> Mistakes:
    for key, names in known_names().items():
        value = values.get(key)
        if isinstance(value, str) and (value.lower() if key == "strategy" else value) not in names:
            yield key, f"there is no {key} `{value}`", nearest(value, names)


def _out_of_range(values: dict[str, Any]) -> Mistakes:
    # Lightning takes these numbers, and fails of them.
    for key in AT_LEAST_ONE:
        value = values.get(key)
        if isinstance(value, (int, float)) and value < 1:
            yield key, f"`{key}` is at least 1; found {indefinite(value)}", ""
    if values.get("val_check_interval") == 0 and isinstance(values["val_check_interval"], int):
        yield "val_check_interval", "`val_check_interval` is at least 1, or a part of an epoch; found 0", ""
    devices = values.get("devices", "auto")
    if not _are_devices(devices):
        example = "How many (2, or -1 for all), which ([0, 2]), or `auto`."
        yield "devices", f"these are no devices: {indefinite(devices)}", example


def _are_devices(value: Any) -> bool:
    if isinstance(value, str):
        return DEVICES.fullmatch(value) is not None and value != "0"
    if isinstance(value, list):
        return bool(value) and (UNKNOWN in value or len(set(map(str, value))) == len(value))
    return not isinstance(value, (int, float)) or value == -1 or value >= 1


def _no_loggers(values: dict[str, Any]) -> Mistakes:
    # Known names were replaced by definitions before.
    written = values.get("logger")
    several = isinstance(written, list)
    for index, value in enumerate(written if isinstance(written, list) else [written]):
        key = join("logger", index) if several else "logger"
        if isinstance(value, str):
            yield key, f"there is no logger `{value}`", nearest(value, LOGGERS)
        elif several and isinstance(value, (int, float)):
            yield key, f"a logger is an object or a name; found {indefinite(value)}", f"Names: {', '.join(LOGGERS)}."


def _switched_off(context: Context, values: dict[str, Any]) -> Mistakes:
    for key, base in _SWITCHES.items():
        kinds = [kind for _, kind in context.objects("callbacks") if kind is not None and issubclass(kind, base)]
        if values.get(key) is False and kinds:
            yield key, f"this switches off what `callbacks` has: {kinds[0].__name__}", "Leave one of them out."


def _refused_by_lightning(values: dict[str, Any]) -> Mistakes:
    left_out = {*_NOT_ASKED, *OWN_ARGUMENTS, "_target_"}
    asked = {key: value for key, value in values.items() if key not in left_out and is_known(value)}
    if values.get("accelerator") == "cpu" and is_known(values.get("devices")) and "devices" in values:
        asked["devices"] = values["devices"]
    if values.get("barebones") is True and values.get("logger", False) not in (False, None):
        asked["logger"] = True

    def make(**arguments: Any) -> pl.Trainer:
        return pl.Trainer(**{"accelerator": "cpu", "devices": 1, "logger": False, **arguments})

    with without_advice():
        yield from refused(make, asked)


def _check_kinds(context: Context) -> None:
    # By what they have rather than by their class, as Lightning asks.
    for key, (noun, attribute, example) in _KINDS.items():
        for path, kind in context.objects(key):
            if kind is not None and not is_factory(kind) and not hasattr(kind, attribute):
                context.problem(f"this is no {noun}: {kind.__name__}", path, f"A {noun}: {{_target_: {example}}}")


def _check_packages(context: Context) -> None:
    # Lightning says it only when the logger is made.
    for path, kind in context.objects("logger"):
        for needed in filter(None, (_PACKAGES.get(each.__name__) for each in (kind.__mro__ if kind else ()))):
            if kind is not None and not any(name in sys.modules or find_spec(name) for name in needed):
                package = needed[0].replace("_", "-")
                message = f"{kind.__name__} needs the package `{package}`, which is not installed"
                context.problem(message, path, f"pip install {package}")


def _check_twice(context: Context) -> None:
    # Their states would have one name in the checkpoint.
    seen: dict[tuple[type, str], str] = {}
    for path, kind in context.objects("callbacks"):
        node = context.tree.find(context.followed(path))
        if kind is None or node is None or not is_target(node.value):
            continue
        # The states of these two are named by their arguments.
        is_named = kind.__name__ in ("ModelCheckpoint", "EarlyStopping")
        if not is_named and (_is_callbacks_own(kind, "state_dict") or not _is_callbacks_own(kind, "state_key")):
            continue
        arguments = plain(Node({key: child for key, child in node.value.items() if key != "_target_"}, node.origin))
        key = (kind, repr(arguments) if is_named else "")
        if "object object" not in key[1] and key in seen:  # an unknown value
            message = f"this is the second {kind.__name__} like this one; Lightning takes one"
            context.problem(message, path, f"The first is `{seen[key]}`.")
        seen.setdefault(key, path)


def _is_callbacks_own(kind: type, name: str) -> bool:
    """Return whether a callback has the method of Lightning's `Callback`, and none of its own."""
    # By its name: `Callback` may be that of either package of Lightning.
    return getattr(kind, name, None) in [
        getattr(base, name) for base in kind.__mro__ if base.__name__ == "Callback" and name in vars(base)
    ]
