"""Apply the section `parallel` to a module: tensor parallelism, then activations, `torch.compile`, and FSDP2.

This is the order that torch asks for. Weights are on the CPU or the device and whole before, and DTensors afterwards,
whose names are unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from torchmetrics import Metric

from lighter._lightning.mesh import checkpoint_activations
from lighter._lightning.recorded_init import Recording, fill
from lighter.errors import MisfitError
from lighter.parallel import tensor_styles
from lighter.parallel.names import matching, misses, module_names
from lighter.parallel.settings import ParallelSettings, Style

_CONTAINERS = (nn.ModuleList, nn.ModuleDict)


@dataclass(frozen=True)
class Division:
    """The modules that the section names.

    Attributes:
        units: the names of the modules whose weights are gathered together, inner ones before outer ones.
        shards: whether they are divided over the data ranks.
        checkpoint: the names of those whose activations are computed again.
        compile: the names of those that are compiled.
        styles: a style for each layer that is divided.
    """

    units: Sequence[str]
    shards: bool
    checkpoint: Sequence[str]
    compile: Sequence[str]
    styles: Mapping[str, Style]

    @classmethod
    def of(cls, settings: ParallelSettings, module: nn.Module, prefixes: Sequence[str]) -> Division:
        """Find the modules in a LightningModule.

        Raises:
            MisfitError: a pattern fits no module, or one that cannot be divided so.
        """
        names = module_names(module)
        wrong = [(f"{message}. {hint}", path) for path, message, hint in misses(settings, names, prefixes)]
        if wrong:
            raise _misfit(wrong)
        styles = {name: style for text, style in settings.plan.items() for name in matching(text, names, prefixes)}
        shard = list(_default_units(module))
        if settings.shard is not None:
            shard = [name for text in settings.shard for name in matching(text, names, prefixes)]
        found = cls(
            # in one order on all processes, as tensor ranks exchange while they divide: a set has another in each
            sorted(dict.fromkeys([*shard, *_roots(module)]), key=lambda name: -name.count(".")),
            settings.shard != [],
            [name for text in settings.checkpoint_activations for name in matching(text, names, prefixes)],
            [name for text in settings.compile for name in matching(text, names, prefixes)],
            styles,
        )
        wrong = list(found.mistakes(module))
        if wrong:
            raise _misfit(wrong)
        return found

    def mistakes(self, module: nn.Module) -> Iterator[tuple[str, str]]:
        """Yield a message for each module that cannot be divided as asked, and the key of the section."""
        for key, names in {"shard": self.units, "checkpoint_activations": self.checkpoint}.items():
            for name in names:
                if isinstance(module.get_submodule(name), _CONTAINERS):
                    kind = type(module.get_submodule(name)).__name__
                    yield f"`{name}` is a {kind}, which is never called. Did you mean `{name}.*`?", key
        for name, style in self.styles.items():
            wrong = tensor_styles.misfit(style, module.get_submodule(name))
            if wrong:
                yield f"`{name}`: {wrong}", "plan"
        own = [name for name, _ in module.named_parameters(recurse=False)]
        if own:
            message = f"`{own[0]}` is a parameter of {type(module).__name__} itself, and only modules in it are divided"
            yield f"{message}. Put it into the network.", "shard"


@dataclass(frozen=True)
class Means:
    """The mesh, precision and recording to divide a module with.

    Attributes:
        mesh: of `data_parallel` and `tensor_parallel` dimensions.
        precision: the trainer's.
        convert: gives a part the types of the precision.
        recording: of the weights that have no memory yet; None if all have.
    """

    mesh: DeviceMesh
    precision: str
    convert: Callable[[nn.Module], nn.Module]
    recording: Recording | None


def divide(module: nn.Module, division: Division, means: Means) -> None:
    """Divide a LightningModule over the processes of a mesh, one unit at a time: only that is whole in memory.

    Raises:
        MisfitError: the module cannot be divided so.
    """
    if means.mesh["data_parallel"].size() > 1:
        _refuse_statistics(module)
    tied = _tied(module)
    divided: set[str] = set()
    for name in division.units:
        _divide_unit(module, name, division, means, divided)
    if means.recording is not None:
        fill(module, means.recording)  # modules that have only buffers
    _change_modules(module, "", division, divided)
    _check_tied(module, tied)


def _divide_unit(module: nn.Module, name: str, division: Division, means: Means, divided: set[str]) -> None:
    unit = module.get_submodule(name)
    if means.recording is not None:
        fill(unit, means.recording)
    means.convert(unit)
    if means.mesh["tensor_parallel"].size() > 1:
        styles = {
            each: style for each, style in division.styles.items() if _is_within(each, name) and each not in divided
        }
        divided.update(styles)
        try:
            inner = {each[len(name) :].lstrip("."): style for each, style in styles.items()}
            tensor_styles.divide(unit, means.mesh["tensor_parallel"], inner, name)
        except ValueError as error:
            raise _misfit([(f"in `{name}`: {error}", "plan")]) from error
    _change_modules(module, name, division, divided)
    if division.shards:
        policy = policy_of(means.precision)
        # the outermost unit too: left whole after an evaluation, it would show callbacks other tensors than optimizers
        fully_shard(unit, mesh=means.mesh["data_parallel"], mp_policy=policy, reshard_after_forward=True)


def _change_modules(module: nn.Module, name: str, division: Division, changed: set[str]) -> None:
    """Have the modules of a unit compute activations again, and compile them."""
    changes = (("checkpoint", division.checkpoint, checkpoint_activations), ("compile", division.compile, compiled))
    for key, names, change in changes:
        for each in names:
            if _is_within(each, name) and f"{key} {each}" not in changed:
                changed.add(f"{key} {each}")
                change(module.get_submodule(each))


def compiled(module: nn.Module) -> None:
    module.compile()  # in place: the names of its parameters stay


def _is_within(name: str, unit: str) -> bool:
    return not unit or name == unit or name.startswith(f"{unit}.")


def is_divided(module: nn.Module) -> bool:
    return any(isinstance(parameter.data, DTensor) for parameter in module.parameters())


def policy_of(precision: str) -> MixedPrecisionPolicy:
    """Return in which type weights are gathered and gradients are reduced, for a precision of the trainer's."""
    if precision == "bf16-mixed":
        return MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    return MixedPrecisionPolicy()


def _default_units(module: nn.Module) -> Iterator[str]:
    outer: list[str] = []
    for name, part in module.named_modules():
        if isinstance(part, nn.ModuleList) and not name.startswith(tuple(f"{one}." for one in outer)):
            outer.append(name)
            yield from (f"{name}.{key}" for key, item in part.named_children() if _trains_in(item))


def _roots(module: nn.Module, prefix: str = "") -> Iterator[str]:
    """Yield the names of the outermost modules that are called: what is in no other unit is gathered with these."""
    for key, child in module.named_children():
        if isinstance(child, _CONTAINERS):
            yield from _roots(child, f"{prefix}{key}.")
        elif not isinstance(child, Metric) and _trains_in(child):
            yield f"{prefix}{key}"


def _trains_in(module: nn.Module) -> bool:
    return any(True for _ in module.parameters()) and not isinstance(module, _CONTAINERS)


def _refuse_statistics(module: nn.Module) -> None:
    for name, part in module.named_modules():
        if getattr(part, "track_running_stats", False) and not isinstance(part, nn.SyncBatchNorm):
            message = (
                f"`{name}` is a {type(part).__name__}, whose running means would be those of one process's data. Use"
                " LayerNorm or GroupNorm, or SyncBatchNorm on GPUs."
            )
            raise _misfit([(message, "data")])


def _tied(module: nn.Module) -> list[list[str]]:
    """Return the names of each parameter that has several."""
    names: dict[int, list[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return [several for several in names.values() if len(several) > 1]


def _check_tied(module: nn.Module, tied: Sequence[Sequence[str]]) -> None:
    now = dict(module.named_parameters(remove_duplicate=False))
    for names in tied:
        if len({id(now[name]) for name in names}) > 1:
            message = f"{' and '.join(f'`{name}`' for name in names)} are one tensor, and would be divided apart"
            hint = (
                "Leave the modules that have it out of `shard`, so that they are gathered together. In `plan`, leave"
                " both out, or divide them alike: an Embedding `rowwise` and a Linear `colwise`."
            )
            raise _misfit([(f"{message}. {hint}", "shard")])


def _misfit(wrong: Sequence[tuple[str, str]]) -> MisfitError:
    return MisfitError("\n".join(f"parallel::{key}: {message}" for message, key in wrong))
