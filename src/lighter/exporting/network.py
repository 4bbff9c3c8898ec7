"""The network of a run's module: the part that is exported, as calls in an evaluation show it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from lighter.config.problems import Problem, nearest
from lighter.errors import ConfigError, ExportError
from lighter.forward import ForwardModule
from lighter.system import System

_NAME_IT = "Name the part to export with --module"


@dataclass(frozen=True)
class Network:
    """A module that is exported: `called` is what the steps call, `original` what it is without `torch.compile`."""

    name: str
    called: nn.Module

    @property
    def original(self) -> nn.Module:
        original: nn.Module = getattr(self.called, "_orig_mod", self.called)
        return original


class Calls:
    """The calls of modules in an evaluation: which are not within another's, and which are within which.

    `delegates` has the pairs of a module and the one that it only passes its inputs to.
    """

    def __init__(self) -> None:
        self.outermost: set[str] = set()
        self.inner: dict[str, set[str]] = {}
        self.delegates: set[tuple[str, str]] = set()
        self._stack: list[tuple[str, object]] = []
        self._outputs: dict[str, object] = {}

    @property
    def every(self) -> set[str]:
        return self.outermost.union(*self.inner.values())

    def enter(self, name: str, _: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if self._stack:
            self.inner.setdefault(self._stack[-1][0], set()).add(name)
        else:
            self.outermost.add(name)
        self._stack.append((name, (args, kwargs)))

    def leave(self, name: str, _: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: object) -> None:
        self._stack.pop()
        if self._stack and _same(self._stack[-1][1], (args, kwargs)):
            self.delegates.add((self._stack[-1][0], name))
        self._outputs[name] = output
        for inner in self.inner.get(name, ()):
            if inner not in self._outputs or not _same(self._outputs[inner], output):
                self.delegates.discard((name, inner))

    @contextmanager
    def watched(self, module: nn.Module) -> Iterator[None]:
        """Record the calls of a module's parts while this lasts."""
        parts = [*module.named_modules()]
        handles = [part.register_forward_pre_hook(partial(self.enter, name), with_kwargs=True) for name, part in parts]
        handles += [
            part.register_forward_hook(partial(self.leave, name), with_kwargs=True, always_call=True)
            for name, part in parts
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def find_network(module: LightningModule, evaluate: Callable[[], object], name: str | None) -> Network:
    """Find the network: the part that is named, or the only one that the steps call.

    Args:
        evaluate: evaluates a batch.

    Raises:
        ConfigError: there is no such part, or there are several to choose from.
        ExportError: the steps call none.
    """
    calls = Calls()
    with calls.watched(module):
        evaluate()
    if name is not None:
        return _named(module, name, calls)
    if isinstance(module, System):
        return Network("model", module.model)
    if "" in calls.outermost and not isinstance(module, ForwardModule):
        # a `forward` that only calls a network is that network
        inner = calls.inner.get("", set())
        if len(inner) == 1 and ("", *inner) in calls.delegates:
            [name] = inner
            return Network(name, module.get_submodule(name))
        return Network("", module)
    return _only(module, calls)


def _only(module: LightningModule, calls: Calls) -> Network:
    outermost = {*calls.outermost, *calls.inner.get("", ())} - {""}
    with_weights = [name for name in outermost if any(True for _ in module.get_submodule(name).parameters())]
    if len(with_weights) == 1:
        return Network(with_weights[0], module.get_submodule(with_weights[0]))
    if not with_weights:
        raise ExportError(
            f"{type(module).__name__} calls no module that has weights in its evaluation step, so there is nothing to"
            " export"
        )
    names = sorted(with_weights)
    raise ConfigError([Problem(f"{type(module).__name__} calls {', '.join(names)}", hint=f"{_NAME_IT}: {names[0]}.")])


def _named(module: LightningModule, name: str, calls: Calls) -> Network:
    modules = dict(module.named_modules())
    if name not in modules:
        raise ConfigError([Problem(f"--module: there is no `{name}`", hint=nearest(name, filter(None, modules)))])
    if name not in calls.every:
        raise ConfigError([Problem(f"--module: `{name}` is not called in the evaluation step")])
    return Network(name, modules[name])


def _same(one: object, other: object) -> bool:
    """Return whether two structures hold the very same tensors."""
    return [id(leaf) for leaf in tree_flatten(one)[0] if isinstance(leaf, Tensor)] == [
        id(leaf) for leaf in tree_flatten(other)[0] if isinstance(leaf, Tensor)
    ]
