"""The attributes that changed since a fit began: of the module and its submodules, the data and the user's callbacks.

None of them is in a `state_dict`. Hooks that begin an epoch freeze BatchNorm by `eval()`, thaw a backbone by
`requires_grad_()` or set `self.beta`, and are not called again for an epoch that goes on. Plain values are saved; a
change that cannot be saved is named.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from pytorch_lightning.callbacks import Checkpoint
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils.data import DataLoader, Dataset
from torchmetrics import Metric, MetricCollection

from lighter.errors import CheckpointError
from lighter.parts.holders import (
    holders,
    is_holder,
    is_of_library,
    is_of_users,
    own_attributes,
    set_attribute,
    sets_own_state,
)
from lighter.parts.metrics.foreign import has_methods
from lighter.trainer.resume.dataset_counters import counts_of
from lighter.trainer.resume.encoding import OF_PROCESS, Opaque, encode, fingerprint, has_generator, opaque_in, restored
from lighter.trainer.resume.position import is_begun

State = Mapping[str, Any]
Place = tuple[str, str]  # the path of an object, and the name of its attribute
# by path and name: the fingerprints of the first value and of the one from which changes count, and the value
Changed = Mapping[str, Mapping[str, Sequence[Any]]]

_MODEL, _DATA, _TRAINER, _LOADER = "model", "data", "trainer", "_dataloader"
_OF_TRAINER = ("accumulate_grad_batches", "gradient_clip_val", "gradient_clip_algorithm")
_GRADIENT = ".requires_grad"
_NO_EXTRA_STATE = nn.Module.get_extra_state
_FAILS = (CheckpointError, AttributeError, KeyError, TypeError, ValueError, RuntimeError)


class Attribute:
    """An attribute of an object.

    Attributes:
        holder: the object.
        name: of the attribute; `weight.requires_grad` for that of a parameter.
        value: encoded.
    """

    def __init__(self, holder: object, name: str, value: Any) -> None:
        self.holder, self.name, self.value = holder, name, encode(value)

    @property
    def is_plain(self) -> bool:
        """Return whether it can be saved."""
        return next(opaque_in(self.value), None) is None

    @property
    def is_iterator(self) -> bool:
        """Return whether it has a state that nobody can read."""
        return any(hasattr(type(one), "__next__") and not hasattr(one, "fileno") for one in opaque_in(self.value))

    @property
    def fingerprint(self) -> str:
        """The same for the same value."""
        return fingerprint(self.value, is_holder)

    @property
    def is_users(self) -> bool:
        """Return whether a change that cannot be saved is told: objects of libraries keep caches, metrics sums."""
        is_foreign = not isinstance(self.holder, (Metric, MetricCollection))
        has_state = isinstance(self.holder, nn.Module) and type(self.holder).get_extra_state is not _NO_EXTRA_STATE
        return not has_state and (is_of_users(self.holder) or (is_foreign and has_methods(self.holder)))

    @property
    def kind(self) -> str:
        """Kind of value, for those that cannot be saved."""
        one = next(opaque_in(self.value))
        name = type(one).__name__
        if self.is_iterator:
            return f"an iterator ({name})"
        if isinstance(one, Tensor) or type(one) in (list, dict, tuple, set, str, bytes):
            return f"too large a {name}"
        return f"a {name}" if isinstance(self.value, Opaque) else f"with a {name} in it"

    def set(self, encoded: Any, device: torch.device) -> None:
        """Give it another value."""
        tensors: dict[str, Any] = {}
        if isinstance(self.holder, nn.Module):
            tensors = {**self.holder._parameters, **self.holder._buffers}
        if self.name.endswith(_GRADIENT):
            tensors[self.name.removesuffix(_GRADIENT)].requires_grad_(encoded)
        elif self.name in tensors:
            setattr(self.holder, self.name, restored(encoded, tensors[self.name], device))
        else:
            now = dict(own_attributes(self.holder)).get(self.name)
            set_attribute(self.holder, self.name, restored(encoded, now, device))


class Switches:
    """The changes of one fit. What a module is when the fit begins is the user's to say, in a fit that goes on too.

    What the first hooks set, up to `on_train_start`, is theirs: in a fit that goes on they set it again, to its own
    folder, time or file descriptor. Changes count from there.

    Attributes:
        unknown: what has a state that cannot be read, and why, by name.
    """

    def __init__(self) -> None:
        self.unknown: dict[str, str] = {}
        self._roots: dict[str, Any] = {}
        self._first: dict[Place, str] = {}
        self._alive: list[Any] = []  # what fingerprints know by its identity
        self._base: dict[Place, str] = {}  # the values from which changes count, where these are not the first
        self._before_start: dict[Place, str] = {}
        self._moved: set[Place] = set()  # modes that were seen to differ from these, and may be as they were again
        self._at_setup: Changed = {}
        self._expected: dict[str, Any] = {}  # changes of objects that are not there yet
        self._named: set[str] = set()

    def begin(self, trainer: Any) -> None:
        """Count changes from here: before the first hook that a fit calls when all is set up."""
        self.add({_MODEL: trainer.lightning_module, _TRAINER: trainer, **_callbacks(trainer.callbacks)})
        if trainer.datamodule is not None:
            self.add({_DATA: trainer.datamodule})

    def add(self, roots: Mapping[str, Any], *, as_expected: bool = True) -> None:
        """Look at more objects from here on, unless they are looked at already.

        Args:
            as_expected: whether what a checkpoint has for them is loaded at once.
        """
        new = {label: root for label, root in roots.items() if self._roots.get(label) is not root}
        self._roots |= new
        for label, root in new.items():
            for known in (self._first, self._base):
                for place in [place for place in known if _is_of(place[0], label)]:
                    del known[place]
            for place, attribute in _attributes(label, root, self._modules(label)):
                self._note(place, attribute)
            expected = {path: values for path, values in self._expected.items() if _is_of(path, label)}
            self._load(expected if as_expected else {}, torch.device("cpu"))
            for path in expected:  # once: objects that are made anew later begin as they are
                self._expected.pop(path, None)

    def add_loaders(self, split: str, loaders: Sequence[Any]) -> None:
        """Look at what dataloaders load with, before they are gone over. Of what workers have, nothing is known."""
        for number, loader in enumerate(loaders):
            has_all = hasattr(loader, "state_dict") and hasattr(getattr(loader, "dataset", None), "state_dict")
            if not isinstance(loader, DataLoader) or has_all:  # a StatefulDataLoader saves its dataset's state
                continue
            name = f"{split}{_LOADER}" + (f"[{number}]" if len(loaders) > 1 else "")
            parts: dict[str, object] = {f"{name}.{part}": getattr(loader, part) for part in ("dataset", "collate_fn")}
            parts = {label: part for label, part in parts.items() if is_holder(part) or isinstance(part, Dataset)}
            self.add(parts, as_expected=not loader.persistent_workers)  # those were begun with what was there then
            found = (item for label, part in parts.items() for item in _attributes(label, part, ()))
            for place, attribute in found if loader.num_workers else ():
                if has_generator(attribute.value):
                    self.unknown[_name(place)] = "a random generator that workers draw from"
            if loader.num_workers:
                counted = counts_of(loader.dataset, f"{name}.dataset")
                self.unknown |= dict.fromkeys(counted, "which its workers change with each sample")

    def expect(self, state: State) -> None:
        """Load the changes of dataloaders' objects as soon as these are there."""
        self._expected = {path: values for path, values in state.get("changed", {}).items() if _LOADER in path}

    def end_setup(self, optimizers: Sequence[Any], *, has_searched: bool) -> None:
        """The hooks that come before the data is loaded were called: what a search found is loaded as early."""
        self._at_setup = self._changes()["changed"] if has_searched else {}
        for place, attribute in self._all():
            self._count_from(place, attribute)
        own: dict[str, object] = {f"optimizers[{number}]": one for number, one in enumerate(optimizers)}
        self.add({label: one for label, one in own.items() if not is_of_library(type(one))})

    def begin_start(self) -> None:
        """`on_train_start` comes. A validation that was tried has made objects, as that of a fit that goes on will.

        Modes and what trains count from here: a `Freezer` may thaw in `on_train_start` what it has frozen before.
        """
        known = {path for path, _ in (*self._first, *self._base)}
        for place, attribute in self._all():
            self._before_start[place] = attribute.fingerprint
            if place[0] not in known:
                self._count_from(place, attribute)
            elif _is_mode(place):
                self._note(place, attribute)

    def end_start(self) -> None:
        """The first hooks of the fit were called, as those of a fit that goes on will be."""
        for place, attribute in self._all():
            if attribute.is_iterator and attribute.is_users:
                self.unknown[_name(place)] = attribute.kind
            before = self._before_start.get(place)
            if before is None or (before != attribute.fingerprint and not _is_mode(place)):
                self._count_from(place, attribute)
        self._before_start = {}

    def note_modes(self) -> None:
        """Remember which modes differ by now.

        What a callback thaws and the module freezes again later is as it was, but a callback of a resumed fit, which
        knows the step, has thawed it by the end of `on_train_start`.
        """
        for place, attribute in self._all():
            if _is_mode(place) and self._base.get(place, attribute.fingerprint) != attribute.fingerprint:
                self._moved.add(place)

    def changes(self) -> State:
        """Attributes that changed since the fit began, of objects that have no modes."""
        return self._changes()

    def state(self, trainer: Any, *, in_evaluation_mode: bool) -> State:
        """Attributes that changed since the fit began.

        Args:
            in_evaluation_mode: whether a validation has switched all modules to it, and will switch them back.
        """
        modes = trainer.fit_loop.epoch_loop.val_loop._module_mode.mode if in_evaluation_mode else {}
        changes = self._changes({f"{_MODEL}.{name}".rstrip("."): is_on for name, is_on in modes.items()})
        changes["changed"] |= {path: values for path, values in self._expected.items() if not self._is_looked_at(path)}
        if is_begun(trainer):
            early = ((path, name) for path, values in changes["changed"].items() for name in values)
            changes["early"] = [_name(place) for place in early if _is_early(place[0])]
        return {**changes, "at_setup": self._at_setup}

    def new_names(self, left_out: Mapping[str, str]) -> list[str]:
        """Name what is left out of a checkpoint and was not named before, with its kind."""
        new = [name for name in left_out if name not in self._named and name not in self.unknown]
        self._named |= set(new)
        return [f"{name} ({left_out[name]})" for name in new]

    def load_setup(self, state: State, device: torch.device) -> None:
        """Give back what was set before the data was loaded: a batch size that was found, say."""
        self._at_setup = state.get("at_setup", self._at_setup)
        self._load(self._at_setup, device)
        for place, attribute in self._all() if self._at_setup else ():
            if place[1] in self._at_setup.get(place[0], {}):
                self._count_from(place, attribute)

    def load(self, state: State, device: torch.device) -> list[str]:
        """Change again what was changed, which stays a change, though a callback may have made it by now.

        Returns:
            What is not as it was, and why.
        """
        if "changed" not in state:
            return ["the checkpoint was saved without the attributes that hooks had changed, as earlier versions did"]
        lost = {name: kind for name, kind in state["left_out"].items()
                if self._is_looked_at(name) and name not in self.unknown}  # fmt: skip
        problems = [f"{name}, {kind}, is not in the checkpoint" for name, kind in lost.items()]
        early = [name for name in state.get("early", ()) if self._is_looked_at(name)]
        problems += [f"{name} was saved after a hook that comes again" for name in early]
        return problems + self._load(state["changed"], device)

    def reload_loaders(self, split: str, state: State, device: torch.device) -> None:
        """Change the objects of dataloaders once more, which have served since."""
        changed = state.get("changed", {})
        self._load({path: values for path, values in changed.items() if path.startswith(f"{split}{_LOADER}")}, device)

    def _note(self, place: Place, attribute: Attribute) -> None:
        self._first[place] = attribute.fingerprint
        self._count_from(place, attribute)

    def _count_from(self, place: Place, attribute: Attribute) -> None:
        self._base[place] = attribute.fingerprint
        self._alive += opaque_in(attribute.value)

    def _changes(self, modes: Mapping[str, bool] | None = None) -> dict[str, Any]:
        changed: dict[str, dict[str, Any]] = {}
        left_out: dict[str, str] = {}
        for place, attribute in self._all():
            path, name = place
            if name == "training" and modes:  # when everything is in evaluation mode for a while
                attribute.value = modes.get(path, attribute.value)
            first = self._first.get(place, "")
            base = self._base.get(place, first)
            differs = base != attribute.fingerprint or place in self._moved
            if attribute.is_plain:
                if differs:
                    changed.setdefault(path, {})[name] = [first, base, attribute.value]
            elif attribute.is_users and (differs or attribute.is_iterator):
                left_out[_name(place)] = attribute.kind
        return {"changed": changed, "left_out": left_out}

    def _load(self, changed: Changed, device: torch.device) -> list[str]:
        roots = self._roots.items() if changed else ()
        holders_now = {f"{label}{path}": holder for label, root in roots for path, holder in holders(root)}
        problems = []
        for path, values in changed.items():
            if not self._is_looked_at(path):  # not there yet, or of a callback that is gone
                self._expected[path] = values
                continue
            for name, (first, base, encoded) in values.items():
                problem = self._load_one((path, name), holders_now.get(path), (first, base), encoded, device)
                problems += [f"{path}.{name} {problem}"] if problem else []
        return problems

    def _load_one(
        self, place: Place, holder: Any, fingerprints: tuple[str, str], encoded: Any, device: torch.device
    ) -> str:
        if holder is None:
            return "is not there now"
        now, saved = self._first.get(place, ""), fingerprint(encoded, is_holder)
        first, base = fingerprints
        if now not in (first, saved) and OF_PROCESS not in now[:1] + first[:1]:
            return "began with another value, and keeps the one that it has now"
        try:
            Attribute(holder, place[1], None).set(encoded, device)
        except _FAILS as error:
            return f"cannot be restored: {error}"
        self._first[place], self._base[place] = first, base
        if _is_mode(place):
            self._moved.add(place)
        return ""

    def _is_looked_at(self, path: str) -> bool:
        return any(_is_of(path, label) for label in self._roots)

    def _all(self) -> Iterator[tuple[Place, Attribute]]:
        for label, root in self._roots.items():
            yield from _attributes(label, root, self._modules(label))

    def _modules(self, label: str) -> Collection[int]:
        """The ids of the fit's own modules, for all roots but that: callbacks have them too, if only by `self.log`."""
        module = self._roots.get(_MODEL)
        return {id(one) for one in module.modules()} if module is not None and label != _MODEL else ()


def _is_mode(place: Place) -> bool:
    return place[1] == "training" or place[1].endswith(_GRADIENT)


def _attributes(label: str, root: Any, besides: Collection[int]) -> Iterator[tuple[Place, Attribute]]:
    if label == _TRAINER:
        for name in _OF_TRAINER:
            yield (label, name), Attribute(root, name, getattr(root, name))
        return
    registered = set(map(id, root.modules())) if isinstance(root, nn.Module) else set()
    for path, holder in holders(root, besides):
        found = own_attributes(holder)
        if isinstance(holder, nn.Module) and not isinstance(holder, Metric):
            found += _of_module(holder, is_registered=id(holder) in registered)
        for name, value in found:
            if not sets_own_state(value):
                yield (f"{label}{path}", name), Attribute(holder, name, value)


def _of_module(module: nn.Module, *, is_registered: bool) -> Iterator[tuple[str, Any]]:
    """Yield what trains, and the tensors that a `state_dict` does not have."""
    for name, parameter in module._parameters.items():
        if parameter is not None:
            yield f"{name}{_GRADIENT}", parameter.requires_grad
            if not (is_registered or is_lazy(parameter)):
                yield name, parameter
    for name, buffer in module._buffers.items():
        if not is_registered or name in module._non_persistent_buffers_set:
            yield name, buffer


def _callbacks(callbacks: Iterable[object]) -> dict[str, Any]:
    """The user's callbacks by name. Those that save checkpoints note files, which is theirs to keep."""
    found: dict[str, Any] = {}
    for callback in callbacks:
        if isinstance(callback, Checkpoint) or is_of_library(type(callback)):
            continue
        name = f"callbacks.{type(callback).__qualname__}"
        same = sum(label == name or label.startswith(f"{name}[") for label in found)
        found[f"{name}[{same}]" if same else name] = callback
    return found


def _is_early(path: str) -> bool:
    """Return whether an object's first hooks may have run before those of a callback that saves in them."""
    return path.startswith(("callbacks.", f"train{_LOADER}"))


def _is_of(path: str, label: str) -> bool:
    return path == label or path.startswith((f"{label}.", f"{label}["))


def _name(place: Place) -> str:
    return ".".join(place)
