"""Bytes of the tensors that are alive, counted operator by operator; and tensors that take none."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.debug import _clear_sharding_prop_cache
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

NEEDS_VALUES = (DataDependentOutputException, DynamicOutputShapeException)
"""Errors of operators that cannot compute with shapes alone."""


class LiveBytes(TorchDispatchMode):
    """Count the bytes of the storages that operators make while this is entered, until they are freed.

    `at_peak` has the size of each storage that was alive when they took most, by a number that `number_of` gives;
    `begin` starts anew. What was made before counts once `see` is called with it.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.at_peak: dict[int, int] = {}
        self.alive: dict[int, int] = {}
        self.now = self.peak = 0
        self.numbers: dict[int, int] = {}  # of the storages that are alive; an address is used again, a number is not
        self.count = 0

    def see(self, tensor: Tensor) -> None:
        storage = local_part(tensor).untyped_storage()
        address = storage._cdata
        if address in self.numbers:
            return
        number = self.numbers[address] = self.count
        self.count += 1
        self.alive[number] = storage.nbytes()
        self.now += storage.nbytes()
        weakref.finalize(storage, self.forget, address)
        self.look()

    def begin(self) -> None:
        """Look for the peak from here on."""
        self.peak, self.at_peak = self.now, dict(self.alive)

    def number_of(self, tensor: Tensor) -> int | None:
        """Return the number of a tensor's storage; None if it was not seen."""
        return self.numbers.get(local_part(tensor).untyped_storage()._cdata)

    def __enter__(self) -> LiveBytes:
        def resize(storage: torch.UntypedStorage, size: int) -> None:
            super(torch.UntypedStorage, storage).resize_(size)
            self.note_size(storage)

        # FSDP2 frees gathered weights by giving their storage no bytes, and no operator shows that
        torch.UntypedStorage.resize_ = resize  # type: ignore[method-assign,assignment]
        return super().__enter__()  # type: ignore[no-any-return,no-untyped-call]

    def __exit__(self, *error: Any) -> None:
        del torch.UntypedStorage.resize_  # its base class has the real one
        super().__exit__(*error)  # type: ignore[no-untyped-call]

    def note_size(self, storage: torch.UntypedStorage) -> None:
        number = self.numbers.get(storage._cdata)
        if number is not None:
            self.now += storage.nbytes() - self.alive[number]
            self.alive[number] = storage.nbytes()
            self.look()

    def look(self) -> None:
        if self.now > self.peak:
            self.peak, self.at_peak = self.now, dict(self.alive)

    def forget(self, address: int) -> None:
        self.now -= self.alive.pop(self.numbers.pop(address))

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if any(issubclass(kind, DTensor) for kind in types):
            return NotImplemented  # it then calls operators on what is in it, which come here
        output = func(*args, **(kwargs or {}))
        for item in tree_leaves(output):
            # A view of what was made outside, of a data set say, is nothing new.
            is_new = isinstance(item, Tensor) and self.number_of(item) is None
            if is_new and not shares_memory(item, (args, kwargs)):
                self.see(item)
        return output


def local_part(tensor: Tensor) -> Tensor:
    return tensor._local_tensor if isinstance(tensor, DTensor) else tensor


def shares_memory(tensor: Tensor, others: Any) -> bool:
    address, inputs = tensor.untyped_storage()._cdata, tree_leaves(others)
    return any(isinstance(item, Tensor) and item.untyped_storage()._cdata == address for item in inputs)


@contextmanager
def fake_tensors() -> Iterator[None]:
    """While this lasts, new tensors of the CPU have a shape and take no memory; operators compute shapes only."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield


def fake_copy(tensor: Tensor) -> Tensor:
    """Return a tensor like another on the CPU, within `fake_tensors`."""
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="cpu")


def make_fake(module: nn.Module) -> None:
    """Exchange a module's parameters and buffers, real or of the meta device, for fake ones; tied ones stay tied."""
    if any(isinstance(parameter, DTensor) for parameter in module.parameters()):
        module.to_empty(device="cpu")  # FSDP2 holds on to its tensors, and exchanges them only so
        return
    copies: dict[int, tuple[Tensor, Tensor]] = {}  # with the original, so that no other gets its id
    for part in module.modules():
        for tensors in (part._parameters, part._buffers):
            for name, tensor in tensors.items():
                if tensor is None:
                    continue
                if id(tensor) not in copies:
                    copy = fake_copy(tensor)
                    is_parameter = isinstance(tensor, nn.Parameter)
                    copies[id(tensor)] = tensor, nn.Parameter(copy, tensor.requires_grad) if is_parameter else copy
                tensors[name] = copies[id(tensor)][1]  # type: ignore[assignment]


@contextmanager
def fake_mesh(data: int, tensor: int) -> Iterator[DeviceMesh]:
    """Make a mesh of `data_parallel` and `tensor_parallel` processes of which this is the first; the others are absent.

    Collectives return at once: for fake tensors, which have no values.
    """
    distributed.init_process_group("fake", store=FakeStore(), rank=0, world_size=data * tensor)
    try:
        yield init_device_mesh("cpu", (data, tensor), mesh_dim_names=("data_parallel", "tensor_parallel"))
    finally:
        distributed.destroy_process_group()
        # its results name the fake groups, and a real mesh of the same sizes is equal to this one
        _clear_sharding_prop_cache()  # type: ignore[no-untyped-call]
