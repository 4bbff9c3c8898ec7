"""Choose what a `Freezer` freezes: parameters and normalization layers, by name, in groups that thaw together."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from torch import nn
from torch.nn import Parameter
from torch.utils.weak import WeakIdKeyDictionary

from lighter.errors import MisfitError
from lighter.parts.optimization.parameter_groups import as_written, is_in, is_pattern, nearest_name

_LEFT_FROZEN = WeakIdKeyDictionary()  # parameters that a run left frozen: it was a Freezer, not the user


@dataclass(frozen=True)
class Name:
    """A name that the user wrote: of a module or a parameter, a pattern of such names, or a prefix."""

    text: str
    is_prefix: bool = False

    def fits(self, spelling: str) -> bool:
        return spelling.startswith(self.text) if self.is_prefix else is_in(spelling, self.text)

    def __str__(self) -> str:
        return (f"{self.text}*" if self.text else "everything") if self.is_prefix else self.text


@dataclass(frozen=True)
class Until:
    """The moment from which on parameters train; with neither of the two, never."""

    step: int | None = None
    epoch: int | None = None

    def is_past(self, step: int, epoch: int) -> bool:
        return (self.step is not None and step >= self.step) or (self.epoch is not None and epoch >= self.epoch)

    def __str__(self) -> str:
        moments = [f"step {self.step}"] * (self.step is not None) + [f"epoch {self.epoch}"] * (self.epoch is not None)
        return f"until {' or '.join(moments)}" if moments else "for the whole run"


@dataclass(eq=False)
class Frozen:
    """Parameters and layers that thaw together."""

    label: str  # their name in messages
    until: Until
    parameters: list[Parameter]
    layers: list[nn.Module]  # normalization layers, whose running statistics must not change
    # the parameters that did train, and layers that were in training mode, by id: only these are set to train again
    taken: dict[int, Parameter | nn.Module] = field(default_factory=dict)

    def freeze(self, taken_by_others: Collection[int] = ()) -> bool:
        """Freeze the parameters that train, and share those that others froze; return whether that changed any."""
        training = [parameter for parameter in self.parameters if parameter.requires_grad]
        # an earlier run froze these, not the user, so they may thaw
        left = [parameter for parameter in self.parameters if parameter in _LEFT_FROZEN]
        for parameter in training:
            parameter.requires_grad_(False)
            parameter.grad = None  # an optimizer moves whatever has a gradient, be it of zeros
        items: list[Parameter | nn.Module] = [*self.parameters, *self.layers]
        shared = [item for item in items if id(item) in taken_by_others]
        self.taken.update({id(item): item for item in (*training, *left, *shared)})
        return bool(training)

    def hold_layers(self) -> None:
        # before every batch, as `train()` puts them back into training mode
        for layer in self.layers:
            if layer.training:
                layer.training = False
                self.taken[id(layer)] = layer

    def release(self, kept: Collection[int] = ()) -> bool:
        """Let everything train that did before, except for what others keep; return whether a parameter changed."""
        free = [item for item in self.taken.values() if id(item) not in kept]
        for item in free:
            if isinstance(item, nn.Module):
                item.training = True
            else:
                item.requires_grad_(True)
                _LEFT_FROZEN.pop(item, None)  # type: ignore[no-untyped-call]
        return any(isinstance(item, Parameter) for item in free)

    def leave(self) -> None:
        # the run is over: the weights stay as they are, and a next run may thaw them
        for item in self.taken.values():
            if isinstance(item, nn.Module):
                item.training = True
            else:
                _LEFT_FROZEN[item] = True

    def __str__(self) -> str:
        parts = [_several(sum(parameter.numel() for parameter in self.parameters), "parameter")]
        parts[0] += f" in {_several(len(self.parameters), 'tensor')}"
        if self.layers:
            parts.append(_several(len(self.layers), "normalisation layer"))
        before = sum(not (each.requires_grad or id(each) in self.taken) for each in self.parameters)
        if before:
            parts.append(f"{_several(before, 'tensor')} frozen by others")
        return f"{self.label} ({', '.join(parts)})"


class Inventory:
    """The parameters and normalization layers of a module, found by name; those that begin with `aside` are not."""

    def __init__(self, module: nn.Module, prefixes: Sequence[str] = (), aside: tuple[str, ...] = ()) -> None:
        # shared parameters have several names, each of which stands for them
        named = list(module.named_parameters(remove_duplicate=False))
        layers = [
            (name, layer)
            for name, layer in module.named_modules(remove_duplicate=False)
            # batch normalization, whichever class computes it
            if any(buffer == "running_mean" for buffer, _ in layer.named_buffers(recurse=False))
        ]
        self._parameters = [(as_written(name), item) for name, item in named if not name.startswith(aside)]
        self._layers = [(as_written(name), layer) for name, layer in layers if not name.startswith(aside)]
        self._prefixes = prefixes

    def find(self, name: Name) -> set[int]:
        return {
            id(item)
            for full, item in (*self._parameters, *self._layers)
            if name.fits(full) or any(name.fits(full[len(p) :]) for p in self._prefixes if full.startswith(p))
        }

    def nearest(self, name: Name) -> str:
        return nearest_name(name.text, self._parameters, self._prefixes)

    def only_whole_layers(self, chosen: Collection[int]) -> set[int]:
        # a layer of which a parameter trains has to adapt its statistics too; one of which none does must not
        held = {id(layer): [id(p) for p in layer.parameters(recurse=False)] for _, layer in self._layers}
        whole = {layer for layer, inside in held.items() if (set(inside) <= set(chosen) if inside else layer in chosen)}
        return {item for item in chosen if item not in held} | whole

    def frozen(self, label: str, until: Until, ids: Collection[int]) -> Frozen:
        parameters = {id(item): item for _, item in self._parameters if id(item) in ids}
        layers = {id(layer): layer for _, layer in self._layers if id(layer) in ids}
        return Frozen(label, until, list(parameters.values()), list(layers.values()))


@dataclass(frozen=True)
class Choice:
    """The names that are frozen, and when each of them thaws."""

    chosen: Sequence[Name]
    excepted: Sequence[Name] = ()
    until: Until = Until()  # when everything thaws
    # the epoch from which on a name trains; what is in no entry is frozen for the whole run
    schedule: Mapping[Name, int] = field(default_factory=dict)

    def groups(self, inventory: Inventory) -> list[Frozen]:
        """Return the groups that thaw together, in the order in which they do.

        Raises:
            MisfitError: names that fit nothing or are not frozen; all of them in one message.
        """
        means = {name: inventory.find(name) for name in (*self.chosen, *self.excepted, *self.schedule)}
        chosen = {item for name in self.chosen for item in means[name]}
        chosen -= {item for name in self.excepted for item in means[name]}
        self._check(means, chosen, inventory)
        chosen = inventory.only_whole_layers(chosen)
        if not self.schedule:
            return [inventory.frozen(_listed(self.chosen), self.until, chosen)]
        epochs: dict[int, int] = {}
        # the longest name has the last word
        for name in sorted(self.schedule, key=lambda name: len(name.text)):
            epochs |= dict.fromkeys(means[name] & chosen, self.schedule[name])
        groups = []
        for epoch in sorted(set(epochs.values())):
            label = _listed([name for name in self.schedule if self.schedule[name] == epoch])
            groups.append(inventory.frozen(label, Until(epoch=epoch), [i for i in epochs if epochs[i] == epoch]))
        rest = chosen - set(epochs)
        return [*groups, inventory.frozen("the rest", Until(), rest)] if rest else groups

    def _check(self, means: Mapping[Name, set[int]], chosen: set[int], inventory: Inventory) -> None:
        problems = []
        for name in [name for name, items in means.items() if not items]:
            verb = "starts with" if name.is_prefix else "fits the pattern" if is_pattern(name.text) else "is"
            message = f"no parameter's or module's name {verb} `{name.text}`. {inventory.nearest(name)}"
            problems.append((message, name.text))
        if not chosen and not problems:
            problems = [("nothing is left to freeze: all that is named is excepted", "")]
        problems += [
            (f"`schedule` has `{name}`, which is not among what is frozen", name.text)
            for name in self.schedule
            if means[name] and chosen and not means[name] & chosen
        ]
        if problems:
            details = [(f"Freezer: {message}", name) for message, name in problems]
            raise MisfitError("\n".join(message for message, _ in details), details=details)


def _several(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"


def _listed(names: Sequence[Name]) -> str:
    return ", ".join(str(name) for name in names)
