"""The attributes that changed since a fit began: of the module and its submodules, the data and the user's callbacks.

None of them is in a `state_dict`. Hooks that begin an epoch freeze BatchNorm by `eval()`, thaw a backbone by
`requires_grad_()` or set `self.beta`, and are not called again for an epoch that resumes. Plain values are saved; a
change that cannot be saved is named.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypedDict
from weakref import ref

import pytorch_lightning as pl
import torch
from torch import nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, Dataset
from torchmetrics import Metric

from lighter._lightning.resume import modes_in_training
from lighter.errors import CheckpointError
from lighter.parts.holders import holders, is_holder, is_of_library
from lighter.trainer.resume.attributes import Attribute, Name, attributes_of, is_mode, users_callbacks
from lighter.trainer.resume.dataset_counters import counts_of
from lighter.trainer.resume.encoding import OF_PROCESS, fingerprint, has_generator, opaque_in
from lighter.trainer.resume.position import is_begun

# by path and name: the fingerprints of the first value and of the one from which changes count, and the value encoded
Changed = Mapping[str, Mapping[str, Sequence[Any]]]

_MODEL, _DATA, _TRAINER, _LOADER = "model", "data", "trainer", "_dataloader"
_CPU = torch.device("cpu")
_FAILS = (CheckpointError, AttributeError, KeyError, TypeError, ValueError, RuntimeError)


class AttributeState(TypedDict, total=False):
    """The attributes that changed since a fit began, as plain data; empty in checkpoints of earlier versions."""

    changed: Changed
    left_out: Mapping[str, str]  # the kinds of values that changed and cannot be saved, by name
    early: Sequence[str]  # changes by hooks that are called again by a fit that resumes from here
    at_setup: Changed  # those of a search for a learning rate or a batch size, before the data was loaded


class _Seen(NamedTuple):
    """Fingerprints of an attribute's values."""

    first: str = ""  # empty if there was none when the fit began
    base: str = ""  # from which changes count


class AttributeChanges:
    """The changes of one fit. The values with which a fit begins are the user's, in a resumed fit too.

    Hooks up to `on_train_start` set a folder, a time or a file descriptor, and set it anew in a resumed fit. Changes
    count from there.
    """

    def __init__(self) -> None:
        self.unknown: dict[str, str] = {}  # the attributes whose state cannot be read, and why, by name
        self._roots: dict[str, Any] = {}
        self._seen: dict[Name, _Seen] = {}
        self._alive: list[Any] = []  # values that fingerprints know by their identity
        self._before_start: dict[Name, str] = {}
        self._moved: set[Name] = set()  # modes that were seen to differ, and may be as they were again
        self._modules_begun: list[ref[nn.Module]] = []  # those that were there when the fit began
        self._modes_noted: list[bool] = []  # theirs, when modes were noted last
        self._at_setup: Changed = {}
        self._expected: dict[str, Any] = {}  # changes of objects that are not made yet
        self._named: set[str] = set()

    def __getstate__(self) -> dict[str, Any]:
        # a trainer may be saved after its fit; weak references cannot be, and are noted anew by the next
        return {**vars(self), "_modules_begun": []}

    def begin(self, trainer: pl.Trainer) -> None:
        # before the first hook that a fit calls, as its changes count
        data = {_DATA: trainer.datamodule} if trainer.datamodule is not None else {}  # type: ignore[attr-defined]
        callbacks = users_callbacks(trainer.callbacks)  # type: ignore[attr-defined]
        self.add({_MODEL: trainer.lightning_module, _TRAINER: trainer, **callbacks, **data})

    def add(self, roots: Mapping[str, Any], *, as_expected: bool = True) -> None:
        """Follow more objects, unless they are followed already, and restore the changes that a checkpoint has."""
        new = {label: root for label, root in roots.items() if self._roots.get(label) is not root}
        self._roots |= new
        for label, root in new.items():
            self._seen = {name: seen for name, seen in self._seen.items() if not _is_of(name[0], label)}
            for name, attribute in attributes_of(label, root, self._modules(label)):
                self._note(name, attribute, is_first=True)
            expected = {path: values for path, values in self._expected.items() if _is_of(path, label)}
            self._load(expected if as_expected else {}, _CPU)
            for path in expected:  # once: objects that are made anew later begin as they are
                self._expected.pop(path, None)

    def add_loaders(self, split: str, loaders: Sequence[Any]) -> None:
        """Follow what dataloaders load with, before they are iterated."""
        for number, loader in enumerate(loaders):
            has_all = hasattr(loader, "state_dict") and hasattr(getattr(loader, "dataset", None), "state_dict")
            if not isinstance(loader, DataLoader) or has_all:  # a StatefulDataLoader saves its dataset's state
                continue
            name = f"{split}{_LOADER}" + (f"[{number}]" if len(loaders) > 1 else "")
            parts: dict[str, object] = {f"{name}.{part}": getattr(loader, part) for part in ("dataset", "collate_fn")}
            parts = {label: part for label, part in parts.items() if is_holder(part) or isinstance(part, Dataset)}
            self.add(parts, as_expected=not loader.persistent_workers)  # those were begun with what there was then
            # the objects of workers are copies, which nothing here can read
            if loader.num_workers:
                attributes = (item for label, part in parts.items() for item in attributes_of(label, part))
                drawn_from = [".".join(path) for path, attribute in attributes if has_generator(attribute.value)]
                counters = counts_of(loader.dataset, f"{name}.dataset")
                self.unknown |= dict.fromkeys(drawn_from, "a random generator that workers draw from")
                self.unknown |= dict.fromkeys(counters, "which its workers change with each sample")

    def expect(self, state: Mapping[str, Any]) -> None:
        # these objects are made later, when the loader is
        self._expected = {path: values for path, values in state.get("changed", {}).items() if _LOADER in path}

    def end_setup(self, optimizers: Sequence[Optimizer], *, has_searched: bool) -> None:
        """Count changes from after the hooks before the data is loaded."""
        # a search for a learning rate or a batch size is not repeated by a resumed fit
        self._at_setup = self.changes().get("changed", {}) if has_searched else {}
        for name, attribute in self._all():
            self._note(name, attribute)
        self.add(
            {f"optimizers[{number}]": one for number, one in enumerate(optimizers) if not is_of_library(type(one))}
        )

    def begin_start(self) -> None:
        # the sanity check has made objects, as that of a resumed fit will. Modes count from here: a `Freezer` may thaw
        # in `on_train_start` what it has frozen before
        known = {path for path, _ in self._seen}
        for name, attribute in self._all():
            self._before_start[name] = attribute.fingerprint
            if name[0] not in known:
                self._note(name, attribute)
            elif is_mode(name):
                self._note(name, attribute, is_first=True)

    def end_start(self) -> None:
        for name, attribute in self._all():
            if attribute.is_iterator and attribute.is_users:
                self.unknown[".".join(name)] = attribute.kind
            # a resumed fit calls the hook too, so what it has changed is no change
            before = self._before_start.get(name)
            if before is None or (before != attribute.fingerprint and not is_mode(name)):
                self._note(name, attribute)
            self._note_move(name, attribute)
        self._before_start = {}
        # what else a trainer holds is not followed, and takes as long to walk through as some ten steps
        roots = {label: root for label, root in self._roots.items() if label != _TRAINER}
        held = (holder for label, root in roots.items() for _, holder in holders(root, self._modules(label)))
        # not kept alive: a strategy wraps the module anew when parameters freeze. By type, as `isinstance` takes weak
        # proxies for what they refer to
        kinds = ((one, type(one)) for one in held)
        modules = [one for one, kind in kinds if issubclass(kind, nn.Module) and not issubclass(kind, Metric)]
        self._modules_begun = [ref(one) for one in modules]
        self._modes_noted = self._modes()

    def note_modes(self) -> None:
        # what a callback thaws and the module freezes again later is as it was, but a callback of a resumed fit,
        # which knows the step, has thawed it by the end of `on_train_start`
        modes = self._modes()
        if modes == self._modes_noted:
            return  # to look at all attributes takes as long as several steps
        self._modes_noted = modes
        for name, attribute in self._all():
            self._note_move(name, attribute)

    def _modes(self) -> list[bool]:
        """Return the modes of the modules that were there when the fit began and still are."""
        alive = [module for begun in self._modules_begun if (module := begun()) is not None]
        return [mode for module in alive for mode in _modes_of(module)]

    def _note_move(self, name: Name, attribute: Attribute) -> None:
        if is_mode(name) and name in self._seen and self._seen[name].base != attribute.fingerprint:
            self._moved.add(name)

    def changes(self, modes: Mapping[str, bool] | None = None) -> AttributeState:
        """Return the attributes that changed since the fit began; with other `modes` of modules, by their paths."""
        changed: dict[str, dict[str, Any]] = {}
        left_out: dict[str, str] = {}
        for name, attribute in self._all():
            if name[1] == "training" and modes:
                attribute.value = modes.get(name[0], attribute.value)
            seen = self._seen.get(name, _Seen())
            differs = seen.base != attribute.fingerprint or name in self._moved
            if attribute.is_plain:
                if differs:
                    changed.setdefault(name[0], {})[name[1]] = [*seen, attribute.value]
            elif attribute.is_users and (differs or attribute.is_iterator):
                left_out[".".join(name)] = attribute.kind
        return {"changed": changed, "left_out": left_out}

    def state(self, trainer: pl.Trainer, *, in_evaluation_mode: bool) -> AttributeState:
        """Return the attributes that changed since the fit began, for a checkpoint."""
        # a validation has set all modules to it, and will set them back
        modes = modes_in_training(trainer) if in_evaluation_mode else {}
        state = self.changes({f"{_MODEL}.{name}".rstrip("."): is_on for name, is_on in modes.items()})
        expected = {path: values for path, values in self._expected.items() if not self._is_followed(path)}
        changed = {**state["changed"], **expected}
        state |= {"changed": changed, "at_setup": self._at_setup}
        # a callback that saves in these hooks may come after objects' own
        if is_begun(trainer):
            early = ("callbacks.", f"train{_LOADER}")
            state["early"] = [f"{path}.{name}" for path in changed if path.startswith(early) for name in changed[path]]
        return state

    def new_names(self, left_out: Mapping[str, str]) -> list[str]:
        """Name what is left out of a checkpoint and was not named before."""
        new = [name for name in left_out if name not in self._named and name not in self.unknown]
        self._named |= set(new)
        return [f"{name} ({left_out[name]})" for name in new]

    def load_setup(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Restore what was set before the data was loaded: a batch size that was found, say."""
        self._at_setup = state.get("at_setup", self._at_setup)
        self._load(self._at_setup, device)
        for name, attribute in self._all() if self._at_setup else ():
            if name[1] in self._at_setup.get(name[0], {}):
                self._note(name, attribute)

    def load(self, state: Mapping[str, Any], device: torch.device) -> list[str]:
        """Restore all changes, which stay changes, though a callback may have made them by now.

        Returns:
            The attributes that are not as they were, and why.
        """
        if "changed" not in state:
            return ["the checkpoint was saved without the attributes that hooks had changed, as earlier versions did"]
        problems = [
            f"{name}, {kind}, is not in the checkpoint"
            for name, kind in state["left_out"].items()
            if self._is_followed(name) and name not in self.unknown
        ]
        early = [name for name in state.get("early", ()) if self._is_followed(name)]
        problems += [f"{name} was saved after a hook that comes again" for name in early]
        return problems + self._load(state["changed"], device)

    def reload_loaders(self, split: str, state: Mapping[str, Any], device: torch.device) -> None:
        """Restore the objects of dataloaders once more, which have served since."""
        changed = state.get("changed", {})
        self._load({path: values for path, values in changed.items() if path.startswith(f"{split}{_LOADER}")}, device)

    def _note(self, name: Name, attribute: Attribute, *, is_first: bool = False) -> None:
        now = attribute.fingerprint
        self._seen[name] = _Seen(now if is_first else self._seen.get(name, _Seen()).first, now)
        self._alive += opaque_in(attribute.value)

    def _load(self, changed: Changed, device: torch.device) -> list[str]:
        roots = self._roots.items() if changed else ()
        holders_now = {f"{label}{path}": holder for label, root in roots for path, holder in holders(root)}
        problems = []
        for path, values in changed.items():
            if not self._is_followed(path):  # not made yet, or of a callback that is gone
                self._expected[path] = values
                continue
            for name, (first, base, encoded) in values.items():
                problem = self._load_one((path, name), holders_now.get(path), _Seen(first, base), encoded, device)
                problems += [f"{path}.{name} {problem}"] if problem else []
        return problems

    def _load_one(self, name: Name, holder: Any, saved: _Seen, encoded: Any, device: torch.device) -> str:
        if holder is None:
            return "is not there now"
        first = self._seen.get(name, _Seen()).first
        began_alike = first in (saved.first, fingerprint(encoded))
        if not began_alike and OF_PROCESS not in first[:1] + saved.first[:1]:
            return "began with another value, and keeps the one that it has now"
        try:
            Attribute(holder, name[1], None).set(encoded, device)
        except _FAILS as error:
            return f"cannot be restored: {error}"
        self._seen[name] = saved
        if is_mode(name):
            self._moved.add(name)
        return ""

    def _is_followed(self, path: str) -> bool:
        return any(_is_of(path, label) for label in self._roots)

    def _all(self) -> Iterator[tuple[Name, Attribute]]:
        for label, root in self._roots.items():
            yield from attributes_of(label, root, self._modules(label))

    def _modules(self, label: str) -> set[int]:
        # looked at under the module alone: callbacks have its submodules too, by `self.log` for example
        module = self._roots.get(_MODEL)
        return {id(one) for one in module.modules()} if module is not None and label != _MODEL else set()


def _modes_of(module: nn.Module) -> Iterator[bool]:
    yield module.training
    for parameter in module._parameters.values():
        if parameter is not None:
            yield parameter.requires_grad


def _is_of(path: str, label: str) -> bool:
    return path == label or path.startswith((f"{label}.", f"{label}["))
