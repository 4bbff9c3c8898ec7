"""Make a module without memory, and its weights later, one part at a time, with the bits that they would have had.

While a `Recording` is on, new tensors have shapes and no memory. Each operation that gives them values is recorded, and
replayed for the tensors that are asked for. Random operations are also run when they are recorded, each on memory that
is freed at once: so all generators are afterwards where they would have been, and each operation can be replayed from
the state that its generator had.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

aten = torch.ops.aten
_LOOKS: Mapping[Any, Any] = {
    Tensor.is_meta.__get__: False,  # type: ignore[attr-defined]
    Tensor.is_cpu.__get__: True,  # type: ignore[attr-defined]
    Tensor.device.__get__: torch.device("cpu"),
}
_REFUSED = (aten.set_, aten.resize_, aten.resize_as_)  # which give a tensor another storage or shape
# random operations that draw as many numbers as their arguments' values ask for, or refuse some values
_DRAWN_BY_VALUES = (
    *(aten._sample_dirichlet, aten._standard_gamma, aten.binomial, aten.multinomial, aten.poisson),
    *(aten.rrelu_with_noise, aten.rrelu_with_noise_, aten.rrelu_with_noise_functional),
)


class UnrecordableError(Exception):
    """Raised for what a recording cannot replay."""


class _Ref(NamedTuple):
    """A tensor without memory as it was at an operation."""

    storage: int
    size: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int
    dtype: torch.dtype
    bytes: int  # of the storage


@dataclass(frozen=True)
class _Step:
    """An operation whose call has a `_Ref` in place of each tensor without memory, and its results that are new."""

    call: _Call
    reads: Collection[int]
    writes: Collection[int]
    results: Sequence[_Ref | None]
    random_state: Tensor | None
    dtype: torch.dtype | None


class Recording:
    """The operations by which tensors without memory get their values."""

    def __init__(self) -> None:
        self.steps: list[_Step] = []
        # by the id of a storage, which is another's once it is freed
        self.alive: dict[int, Tensor] = {}

    @contextmanager
    def on(self, *, new: bool) -> Iterator[None]:
        """Record what happens to tensors without memory; with `new`, new tensors are such.

        Raises:
            Exception: something needs values that are not there; nothing of what was made can be used.
        """
        with _LooksReal(self), _Mode(self, new=new):
            yield

    def __contains__(self, tensor: object) -> bool:
        return isinstance(tensor, Tensor) and tensor.is_meta and _storage(tensor) in self.alive

    def values(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return tensors with memory, on the CPU, for some without."""
        refs = [_ref(tensor) for tensor in tensors]
        needed, chosen = {ref.storage for ref in refs}, list[_Step]()
        for step in reversed(self.steps):
            if needed.intersection(step.writes):
                chosen.append(step)
                needed |= {*step.reads}
        storages: dict[int, torch.UntypedStorage] = {}
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            for step in reversed(chosen):
                _replay(step, storages)
        return [_real(ref, storages) for ref in refs]

    def run(self, call: _Call, recorded: Sequence[Tensor]) -> Any:
        """Run an operation on tensors without memory, and record it."""
        written = call.written
        if any(tensor not in self for tensor in written):
            raise UnrecordableError(f"{call.func} writes into a tensor that has memory")
        state = call.draw()
        result = call.changed(_on_meta).run("meta")
        reads = {_storage(tensor) for tensor in recorded}
        results = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        # views need no step, as each step has the layouts of its tensors
        refs = [None if _storage(each) in reads else _ref(each) for each in results]
        writes = {ref.storage for ref in refs if ref is not None} | {_storage(each) for each in written}
        self.alive |= {_storage(each): each for each in results if _storage(each) not in self.alive}
        if writes:
            # the default type may be another when it is replayed
            dtype = results[0].dtype if results and not call.tensors else None
            self.steps.append(_Step(call.changed(self.kept), reads, writes, refs, state, dtype))
        return result

    def kept(self, tensor: Tensor) -> Any:
        # a copy, as one with memory may change before it is replayed
        return _ref(tensor) if tensor in self else tensor.detach().clone()


def _ref(tensor: Tensor) -> _Ref:
    layout = tuple(tensor.size()), tensor.stride(), int(tensor.storage_offset())
    return _Ref(_storage(tensor), *layout, tensor.dtype, tensor.untyped_storage().nbytes())


class _LooksReal(TorchFunctionMode):
    """Let tensors without memory look as if they were on the CPU: torch's initializers skip those that do not."""

    def __init__(self, recording: Recording) -> None:
        super().__init__()
        self.recording = recording

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _LOOKS and args[0] in self.recording:
            return _LOOKS[func]
        return func(*args, **(kwargs or {}))


class _Mode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, recording: Recording, *, new: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.recording, self.new = recording, new

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        call = _Call(func, args, kwargs or {})
        recorded = [tensor for tensor in call.tensors if tensor in self.recording]
        if not recorded and not (self.new and call.makes_on_cpu):
            return func(*call.args, **call.kwargs)
        if func is aten._local_scalar_dense.default:
            return self.recording.values(recorded)[0].item()
        if any(tensor.is_meta and tensor not in self.recording for tensor in call.tensors):
            # torch has made it of a number, of which nothing is left: `weight[index] = 0`
            raise UnrecordableError(f"{func} has an argument without a value")
        if func.overloadpacket in (*_REFUSED, *_DRAWN_BY_VALUES) or call.kwargs.get("generator") is not None:
            raise UnrecordableError(str(func))
        return self.recording.run(call, recorded)


class _Call:
    """A call of an operation of torch's."""

    def __init__(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        self.func, self.args, self.kwargs = func, args, kwargs
        self.tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        self.parameters = {argument.name: argument for argument in func._schema.arguments}

    @property
    def makes_on_cpu(self) -> bool:
        device = self.kwargs.get("device")
        is_here = device is None or torch.device(device).type == "cpu"
        return not self.tensors and "device" in self.parameters and is_here

    @property
    def written(self) -> list[Tensor]:
        """The arguments that the operation writes into."""
        bound = [*zip(self.parameters.values(), self.args, strict=False)]
        bound += [(self.parameters[key], value) for key, value in self.kwargs.items()]
        written = [value for parameter, value in bound if parameter.alias_info and parameter.alias_info.is_write]
        return [leaf for leaf in tree_leaves(written) if isinstance(leaf, Tensor)]

    def changed(self, change: Callable[[Any], Any], kind: type = Tensor) -> _Call:
        """Return the call with something else in place of each argument of a kind."""
        args, kwargs = tree_map_only(
            kind, change, (self.args, self.kwargs), is_leaf=lambda leaf: isinstance(leaf, kind)
        )
        return _Call(self.func, args, kwargs)

    def run(self, device: str, dtype: torch.dtype | None = None) -> Any:
        on = {"device": device} if "device" in self.parameters else {}
        of = {"dtype": dtype} if dtype is not None and "dtype" in self.parameters else {}
        return self.func(*self.args, **{**self.kwargs, **on, **of})

    def draw(self) -> Tensor | None:
        """Draw the random numbers of the operation, and return the generator's state before; None if it draws none."""
        if torch.Tag.nondeterministic_seeded not in self.func.tags:
            return None
        state = torch.get_rng_state()
        # the numbers that are drawn depend on shapes alone: whether they are zeros does not matter
        self.changed(_zeros).run("cpu")
        return state


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _on_meta(tensor: Tensor) -> Tensor:
    return tensor if tensor.is_meta else tensor.to("meta")


def _zeros(tensor: Tensor) -> Tensor:
    return torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype).zero_()


def _replay(step: _Step, storages: dict[int, torch.UntypedStorage]) -> None:
    if step.random_state is not None:
        torch.set_rng_state(step.random_state)
    result = step.call.changed(lambda ref: _real(ref, storages), _Ref).run("cpu", step.dtype)
    results = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
    for ref, result in zip(step.results, results, strict=True):
        if ref is None:
            continue
        if result.stride() != ref.stride or result.untyped_storage().nbytes() != ref.bytes:
            storages[ref.storage] = torch.UntypedStorage(ref.bytes)  # type: ignore[no-untyped-call]
            result = _real(ref, storages).copy_(result)
        storages[ref.storage] = result.untyped_storage()


def _real(ref: _Ref, storages: Mapping[int, torch.UntypedStorage]) -> Tensor:
    made = torch.empty(0, dtype=ref.dtype)
    return made.set_(storages[ref.storage], ref.offset, ref.size, ref.stride)


def _registries(part: nn.Module) -> tuple[dict[str, Any], dict[str, Any]]:
    return part._parameters, part._buffers


def fill(module: nn.Module, recording: Recording) -> None:
    """Give the parameters and buffers of a module that have no memory yet the values that were recorded for them."""
    held = [
        (tensors, key, tensor)
        for part in module.modules()
        for tensors in _registries(part)
        for key, tensor in tensors.items()
        if tensor is not None and tensor in recording
    ]
    without = {id(tensor): tensor for _, _, tensor in held}  # a tied one once
    values = dict(zip(without, recording.values([*without.values()]), strict=True))
    made: dict[int, Tensor] = {}
    for tensors, key, tensor in held:
        is_parameter = isinstance(tensor, nn.Parameter)
        value = values[id(tensor)]
        made.setdefault(id(tensor), nn.Parameter(value, tensor.requires_grad) if is_parameter else value)
        tensors[key] = made[id(tensor)]


def refuse_loose(module: nn.Module, recording: Recording) -> None:
    """Look for tensors without memory among the attributes of modules, also in lists and dicts: `fill` finds none.

    Raises:
        UnrecordableError: there is one that is neither a parameter nor a buffer.
    """
    registered = {id(tensor) for tensor in _tensors(module)}
    for name, part in module.named_modules():
        for key, value in vars(part).items():
            for leaf in tree_leaves(value):
                if any(tensor in recording and id(tensor) not in registered for tensor in _tensors(leaf)):
                    path = f"{name}.{key}".lstrip(".")
                    raise UnrecordableError(f"`{path}` has a tensor that is neither a parameter nor a buffer")


def _tensors(leaf: object) -> Iterator[Tensor]:
    if isinstance(leaf, Tensor):
        yield leaf
    elif isinstance(leaf, nn.Module):
        yield from leaf.parameters()
        yield from leaf.buffers()
