"""Constructors of torch, torchmetrics, Lightning and Lighter, asked whether they take the plain values of a config.

Their layers are made on the meta device, where they have no size; their dataloaders and optimizers get a stand-in for
the data and the parameters. What is made is thrown away. No code of the user's is called.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import islice
from typing import Any

from lighter.config.annotations import UNKNOWN
from lighter.config.check.calls import plain
from lighter.config.faults import argument_in, is_refusal, traces, without_example
from lighter.config.problems import closest
from lighter.config.tree import SPECIAL, join
from lighter.engine.build import required
from lighter.engine.check.found import Found
from lighter.errors import ModuleError

_LAYERS = ("torch.nn.modules.", "torchmetrics.classification.", "torchmetrics.regression.")
_OURS = ("lighter.callbacks.", "lighter.adapters")  # their constructors check arguments, and do nothing else
_PATHS = ("path", "directory")
_OF_OBJECTS = ("dataset", "sampler", "batch_sampler", "collate_fn", "worker_init_fn", "generator")  # of a DataLoader


def check_constructors(found: Found) -> None:
    """Add a problem for each call of a definition that the class of a library refuses."""
    from lighter.engine.trial import without_advice

    torch = sys.modules.get("torch")
    if torch is None:  # then no target is one of these
        return
    wrong = [problem.path for problem in found.problems]
    for path, target in found.targets.items():
        node = found.node(path)
        if path in found.later or not isinstance(target, type) or {"_args_", "_mode_"} & set(node.value):
            continue
        values = {str(key): plain(child) for key, child in node.value.items() if key not in SPECIAL}
        make = _maker(target, values) if not any(each.startswith(path) for each in wrong) else None
        if make is None:
            continue
        with without_advice(), torch.device("meta"):
            asked = {key: value for key, value in values.items() if is_known(value)}
            for key, message, hint in islice(refused(make, asked), 1):
                where = join(path, key) if key in node.value else path
                named = message if target.__name__ in message else f"{target.__name__}: {message}"
                found.problem(named, where, hint)


def _maker(target: type, values: Mapping[str, Any]) -> Callable[..., Any] | None:
    """Return a function that makes an object from the known values; None if the class cannot be asked."""
    torch = sys.modules["torch"]
    unknown = {key for key, value in values.items() if not is_known(value)}
    if target is torch.utils.data.DataLoader:
        if not unknown <= set(_OF_OBJECTS):
            return None
        stand_ins = {"dataset": [0], **{key: [0] for key in ("sampler", "batch_sampler") if values.get(key) is UNKNOWN}}
        return lambda **given: target(**{**given, **stand_ins})
    if target.__module__.startswith("torch.optim.") and issubclass(target, torch.optim.Optimizer):
        parameters = [torch.nn.Parameter(torch.empty(1, device="cpu"))]
        return None if unknown - {"params"} else lambda **given: target(**{**given, "params": parameters})
    if target.__module__.startswith(_OURS):
        return _ours(target, unknown)
    is_lightnings = ".callbacks." in target.__module__ and target.__module__.startswith(
        ("pytorch_lightning", "lightning")
    )
    return target if not unknown and (is_lightnings or target.__module__.startswith(_LAYERS)) else None


def _ours(target: type, unknown: Collection[str]) -> Callable[..., Any] | None:
    """Return the function for a callback or an adapter: paths and transforms are the same to it, whatever they are."""
    functions = getattr(target, "functions", ())
    if not set(unknown) <= {*functions, *_PATHS}:
        return None
    stand_ins = {key: [len] if key in functions else "stand-in" for key in unknown}
    return lambda **given: target(**{**given, **stand_ins})


def refused(make: Callable[..., Any], asked: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield the arguments that a class refuses, one after the other."""
    error = _refusal(make, asked)
    while error is not None:
        key = (isinstance(error, ModuleError) and error.key) or argument_in(without_example(str(error)), asked)
        without = ({name: value for name, value in asked.items() if name != each} for each in asked)
        named = dict(zip(asked, without, strict=True)) if not key else {}
        key = key or next((each for each, rest in named.items() if _refusal(make, rest) is None), "")
        quoted = re.findall(r"'([^' ]+)'", str(error))
        yield key, str(error).strip(), closest(asked.get(key), [each for each in quoted if each != asked.get(key)])
        if not key or key in required(make):
            return
        del asked[key]
        error = _refusal(make, asked)


def _refusal(make: Callable[..., Any], arguments: Mapping[str, Any]) -> Exception | None:
    """Why a class does not take some arguments; what it fails of on this machine only is none of the config's."""
    try:
        make(**arguments)
    except Exception as error:  # noqa: BLE001
        is_of_machine = isinstance(error, ImportError)
        return error if is_refusal(error, traces(error)[1:]) and not is_of_machine else None
    return None


def is_known(value: Any) -> bool:
    """Return whether a value is plain, in all that is in it."""
    if isinstance(value, dict):
        return all(map(is_known, value.values()))
    return all(map(is_known, value)) if isinstance(value, list) else value is not UNKNOWN
