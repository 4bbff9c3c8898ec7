"""The objects that hold attributes: a module, its submodules, and what these keep in attributes, lists and dicts."""

from __future__ import annotations

import inspect
import io
import logging
import sys
import sysconfig
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from enum import Enum
from functools import cache, cached_property, partial
from pathlib import PurePath
from threading import Thread
from types import BuiltinFunctionType, FunctionType, MethodType, MethodWrapperType, ModuleType
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.data import AttributeDict
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader, Dataset
from torchmetrics import Metric, MetricCollection

MAX_HOLDERS, MAX_MEMBERS = 20_000, 1_000  # of one root; of a list or dict of objects
_LEAVES = (
    *(type, ModuleType, FunctionType, BuiltinFunctionType, MethodType, partial, property),
    *(Enum, BaseException, PurePath, Tensor, torch.Generator, logging.Logger, logging.Handler, Thread, io.IOBase),
)
# those that have a state of their own in checkpoints, or are looked at by themselves
_BY_THEMSELVES = (pl.Trainer, pl.Callback, pl.LightningDataModule, Optimizer, LRScheduler, DataLoader, Dataset)
_FUNCTIONS = (FunctionType, MethodType, BuiltinFunctionType, MethodWrapperType, partial)
CONTENT = "[]"  # names what a container of another class than Python's contains
_CONTAINERS = (list, set, deque, OrderedDict, dict)  # filled by the methods of the first of them that they are
_PLAIN = (*_CONTAINERS, defaultdict, Counter, AttributeDict)
_OURS = ("pytorch_lightning", "lightning", "lightning_fabric", "lighter", "torch", "torchmetrics")
_DEFINITIONS = "lighter.config."  # which build objects when they are asked for
_WRAPPERS = ("torch.distributed", "torch._dynamo", "torch.fx", "deepspeed")  # their attributes are of a process's run
_OF_MODULES = frozenset(vars(nn.Module())) - {"training"}
_SITE = tuple({sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")})
# hooks too, which a trainer may set on a module
_OF_LIGHTNING = {name for name in dir(pl.LightningModule) if name.startswith("on_")} | _OF_MODULES
_OF_LIGHTNING |= vars(pl.LightningModule()).keys() - {"training"}


def holders(root: object, besides: Collection[int] = ()) -> Iterator[tuple[str, Any]]:
    """Yield the objects with attributes that can be reached from one, each once, by path: `.network.2`, `.meters[0]`.

    Those whose ids are in `besides` are looked at elsewhere.
    """
    seen = set(besides)
    todo: list[tuple[str, Any]] = [("", root)]
    while todo and len(seen) < MAX_HOLDERS + len(besides):
        path, holder = todo.pop()
        if id(holder) in seen:
            continue
        seen.add(id(holder))
        yield path, holder
        members: list[tuple[str, Any]] = []
        if isinstance(holder, nn.Module):
            members += [(f"{path}.{name}", child) for name, child in nn.Module.named_children(holder)]
        for name, value in own_attributes(holder):
            members += _objects_in(value, f"{path}.{name}", in_data=isinstance(root, Dataset), of=holder)
        todo += reversed(members)  # `pop` takes the last: the order is that of the attributes


def held_modules(root: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield a module's submodules, and those that it keeps in plain attributes, lists, dicts and objects."""
    for path, holder in holders(root):
        if isinstance(holder, nn.Module):
            yield path.removeprefix("."), holder


def is_holder(value: object) -> bool:
    """Return whether an object's attributes are looked at where it is an attribute of another."""
    if isinstance(value, _LEAVES + _BY_THEMSELVES) or sets_own_state(value):
        return False
    is_definition = type(value).__module__.startswith(_DEFINITIONS)
    # slots, and the content of a container, count as attributes
    return not is_definition and (hasattr(value, "__dict__") or bool(_slots(type(value))) or _is_own_container(value))


def _is_own_container(value: object) -> bool:
    return isinstance(value, _CONTAINERS) and type(value) not in _PLAIN


def _keeps_state(function: object, holder: object) -> bool:
    # in its closure, its arguments, or the object that it is of
    if not isinstance(function, _FUNCTIONS) or (not isinstance(holder, _FUNCTIONS) and is_of_library(type(holder))):
        return False
    if isinstance(function, FunctionType):
        return not _is_installed(function.__module__ or "") and "<locals>" in function.__qualname__
    return isinstance(function, partial) or not isinstance(function.__self__, (ModuleType, type))


def is_of_users(holder: object) -> bool:
    return isinstance(holder, _FUNCTIONS) or not is_of_library(type(holder))


def sets_own_state(value: object) -> bool:
    # MONAI's transforms have it, and are seeded anew for each sample
    return hasattr(type(value), "set_random_state")


def own_attributes(holder: object) -> list[tuple[str, Any]]:
    """Return the attributes of an object that are not a library's bookkeeping."""
    if isinstance(holder, _FUNCTIONS):
        return _remembered(holder)
    if isinstance(holder, nn.Module) and type(holder).__module__.startswith(_WRAPPERS):
        return [("training", holder.training)]
    kind: Any = type(holder)
    ignored = _ignored(kind)
    if isinstance(holder, Metric):  # their states are saved by themselves
        ignored |= holder.metric_state.keys()
    # not `vars`: there may be slots alone
    values: list[tuple[str, Any]] = list(getattr(holder, "__dict__", {}).items())
    values = [(name, value) for name, value in values if name not in ignored and not _is_method_of(holder, name, value)]
    if _is_own_container(holder):
        values.append((CONTENT, _kind_of_container(holder)(holder)))
    return values + [(name, getattr(holder, name)) for name in _slots(kind) if hasattr(holder, name)]


def _is_method_of(holder: object, name: str, value: object) -> bool:
    # Lightning leaves `forward` as such an attribute: where a strategy wraps the module, it exchanges it for a step
    if not isinstance(value, MethodType) or value.__self__ is not holder:
        return False
    return value.__func__ is inspect.getattr_static(type(holder), name, None)


def _remembered(function: Any) -> list[tuple[str, Any]]:
    if isinstance(function, partial):
        return [(name, getattr(function, name)) for name in ("func", "args", "keywords")]
    if not isinstance(function, FunctionType):
        return [("__self__", function.__self__)]
    values = list(vars(function).items())
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # an empty cell
            values.append((name, cell.cell_contents))
    return [*values, ("__defaults__", function.__defaults__)]


def _kind_of_container(container: object) -> Any:
    return next(kind for kind in _CONTAINERS if isinstance(container, kind))


def set_attribute(holder: Any, name: str, value: Any) -> None:
    """Give an attribute another value: past properties, and in frozen dataclasses, closures and containers too."""
    if name == CONTENT:
        # by the methods of Python's type: the user's own may count, log or refuse
        kind = _kind_of_container(holder)
        kind.clear(holder)
        (kind.extend if kind in (list, deque) else kind.update)(holder, value)
    elif isinstance(holder, FunctionType) and name in holder.__code__.co_freevars:
        cells = dict(zip(holder.__code__.co_freevars, holder.__closure__ or (), strict=True))
        cells[name].cell_contents = value
    elif isinstance(holder, partial):
        parts: Any = {**dict(_remembered(holder)), name: value}
        holder.__setstate__((parts["func"], parts["args"], parts["keywords"], vars(holder)))  # type: ignore[attr-defined]
    elif hasattr(holder, "__dict__") and name not in (*_slots(type(holder)), "__self__", "__defaults__"):
        vars(holder)[name] = value
    elif getattr(holder, name, None) is not value:  # a method's object cannot be another one
        object.__setattr__(holder, name, value)


def is_of_library(kind: type) -> bool:
    # of a library's objects only plain values count: the rest is its bookkeeping
    return _is_installed(kind.__module__)


@cache
def _is_installed(module: str) -> bool:
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None:
        return module in sys.builtin_module_names
    return file.startswith(_SITE) or module.partition(".")[0] in _OURS


@cache
def _ignored(kind: type) -> frozenset[str]:
    # `inspect.getattr_static` of each name takes 20 ms for a module, in each process that an experiment forks
    values = {name: value for base in reversed(kind.__mro__) for name, value in vars(base).items()}
    names = {name for name, value in values.items() if isinstance(value, cached_property)}
    names |= {"__weakref__", "__dict__"}
    if issubclass(kind, (Metric, MetricCollection)):
        return frozenset(names) | _OF_MODULES | _used_by(kind, ("torchmetrics",))
    if issubclass(kind, pl.LightningModule):
        internal = _used_by(kind, ("pytorch_lightning", "lightning", "lighter"))
        return frozenset(names | _OF_LIGHTNING | {name for name in internal if name.startswith("_")}) - {"_hparams"}
    if issubclass(kind, nn.Module):
        return frozenset(names | _OF_MODULES | getattr(kind, "transient", frozenset()))
    if issubclass(kind, (pl.Callback, pl.LightningDataModule, Optimizer)):
        return frozenset(names) | _used_by(kind, _OURS)
    return frozenset(names)


def _used_by(kind: type, packages: tuple[str, ...]) -> frozenset[str]:
    functions = [
        getattr(value, "__func__", getattr(value, "fget", value))
        for base in kind.__mro__
        if base.__module__.partition(".")[0] in packages
        for value in vars(base).values()
    ]
    return frozenset(
        name for one in functions if isinstance(one, FunctionType) for name in inspect.unwrap(one).__code__.co_names
    )


def _slots(kind: type) -> tuple[str, ...]:
    if is_of_library(kind):
        return ()
    slots = [vars(base).get("__slots__", ()) for base in kind.__mro__]
    names = [name for one in slots for name in ([one] if isinstance(one, str) else one)]
    return tuple(name for name in names if name not in ("__dict__", "__weakref__"))


def _objects_in(value: Any, path: str, *, in_data: bool, of: object, depth: int = 3) -> list[tuple[str, Any]]:
    if _is_own_container(value) or _keeps_state(value, of):
        return [(path, value)]
    if isinstance(value, (list, tuple)):
        items: Any = enumerate(value)
    elif isinstance(value, Mapping) and type(value).__module__ in ("builtins", "collections"):
        items = list(value.items())
    else:
        return [(path, value)] if is_holder(value) or (in_data and isinstance(value, Dataset)) else []
    if len(value) > MAX_MEMBERS or not depth:
        return []
    members: list[tuple[str, Any]] = []
    for key, item in items:
        members += _objects_in(item, f"{path}[{key!r}]", in_data=in_data, of=of, depth=depth - 1)
    return members
