"""Constructors of torch, torchmetrics, Lightning and Lighter, asked whether they take the plain values of a config.

Their layers are made on the meta device, where they have no size; their dataloaders and optimizers get a stand-in for
the data and the parameters. What is made is thrown away. No code of the user's is called.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

import torch
from torch.utils.data import DataLoader

from lighter.config.annotations import UNKNOWN
from lighter.config.check.calls import plain
from lighter.config.faults import argument_in, is_refusal, traces, without_example
from lighter.config.problems import closest
from lighter.config.tree import SPECIAL, join
from lighter.engine.check.context import Context
from lighter.engine.trial import without_advice
from lighter.errors import ModuleError

_LAYERS = ("torch.nn.modules.", "torchmetrics.classification.", "torchmetrics.regression.")
# The constructors of these check arguments, and do nothing else.
_OURS = ("lighter.callbacks.", "lighter.adapters")
_LIGHTNING = ("pytorch_lightning", "lightning")
_PATHS = ("path", "directory")
# The arguments of a DataLoader that are objects.
_OF_OBJECTS = ("dataset", "sampler", "batch_sampler", "collate_fn", "worker_init_fn", "generator")


def check_constructors(context: Context) -> None:
    """Add a problem for each call of a definition that the class of a library refuses."""
    wrong = [problem.path for problem in context.problems]
    for path, target in context.targets.items():
        node = context.node(path)
        if path in context.partial or not isinstance(target, type) or {"_args_", "_mode_"} & set(node.value):
            continue
        values = {str(key): plain(child) for key, child in node.value.items() if key not in SPECIAL}
        make = _maker(target, values) if not any(each.startswith(path) for each in wrong) else None
        if make is None:
            continue
        with without_advice(), torch.device("meta"):
            known = {key: value for key, value in values.items() if is_known(value)}
            for key, message, hint in islice(refused(make, known), 1):
                where = join(path, key) if key in node.value else path
                named = message if target.__name__ in message else f"{target.__name__}: {message}"
                context.problem(named, where, hint)


def _maker(target: type, values: Mapping[str, Any]) -> Callable[..., Any] | None:
    """Return a function that makes an object from the known values; None if the class cannot be asked."""
    unknown = {key for key, value in values.items() if not is_known(value)}
    stand_ins: dict[str, Any] = {}
    is_lightnings = ".callbacks." in target.__module__ and target.__module__.startswith(_LIGHTNING)
    functions, replaceable = getattr(target, "functions", ()), set[str]()
    if target is DataLoader:
        replaceable = set(_OF_OBJECTS)
        samplers = [key for key in ("sampler", "batch_sampler") if values.get(key) is UNKNOWN]
        stand_ins = {"dataset": [0], **{key: [0] for key in samplers}}
    elif target.__module__.startswith("torch.optim.") and issubclass(target, torch.optim.Optimizer):
        replaceable = {"params"}
        stand_ins = {"params": [torch.nn.Parameter(torch.empty(1, device="cpu"))]}
    elif target.__module__.startswith(_OURS):  # paths and transforms are the same to it, whatever they are
        replaceable = {*functions, *_PATHS}
        stand_ins = {key: [len] if key in functions else "stand-in" for key in unknown}
    elif not (target.__module__.startswith(_LAYERS) or is_lightnings):
        return None
    # A class is asked only if all that it is given is known, or does not matter to it.
    return None if unknown - replaceable else lambda **known: target(**{**known, **stand_ins})


def refused(make: Callable[..., Any], arguments: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield the arguments that a class refuses, one after the other, with message and hint."""
    error = _refusal(make, arguments)
    while error is not None:
        key = (isinstance(error, ModuleError) and error.key) or argument_in(without_example(str(error)), arguments)
        # Where no message names it, it is the argument without which the call works.
        for name in arguments if not key else ():
            if _refusal(make, {other: value for other, value in arguments.items() if other != name}) is None:
                key = name
                break
        value = arguments.get(key)
        quoted = re.findall(r"'([^' ]+)'", str(error))
        yield key, str(error).strip(), closest(value, [word for word in quoted if word != value])
        if not key:
            return
        del arguments[key]
        error = _refusal(make, arguments)


def _refusal(make: Callable[..., Any], arguments: Mapping[str, Any]) -> Exception | None:
    """Return why a class does not take some arguments."""
    try:
        make(**arguments)
    except Exception as error:  # noqa: BLE001
        # what fails on this machine only is not the config's fault
        is_of_machine = isinstance(error, ImportError)
        return error if is_refusal(error, traces(error)[1:]) and not is_of_machine else None
    return None


def is_known(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(is_known, value.values()))
    return all(map(is_known, value)) if isinstance(value, list) else value is not UNKNOWN
