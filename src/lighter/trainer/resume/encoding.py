"""Values of attributes as plain data that `weights_only=True` reads, and back; and fingerprints of values.

Plain are numbers, texts, bytes, None, enums, tensors, NumPy's arrays and numbers, random generators, and lists, tuples,
sets, dicts and deques of such. An encoded value is a scalar as it is, or a list that begins with a tag.
"""

from __future__ import annotations

import random
from array import array
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterator
from contextlib import suppress
from enum import Enum
from hashlib import blake2b
from types import FunctionType, ModuleType
from typing import Any, NamedTuple, TypeGuard

import numpy as np
import torch
from lightning_fabric.utilities.data import AttributeDict
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from lighter._lightning.resume import version_of
from lighter.errors import CheckpointError
from lighter.lightning_alias import canonical
from lighter.parts.allocation import unfilled_memory
from lighter.parts.holders import is_holder

MAX_BYTES, MAX_ITEMS = 2**24, 10_000  # of one attribute: what is larger would make checkpoints large and saves slow
OF_PROCESS = "~"  # begins the fingerprints that another process does not have

_SCALARS = (type(None), bool, int, float, str, bytes)
_SEQUENCES = (list, tuple, set, frozenset, deque)
_MAPPINGS = (dict, OrderedDict, defaultdict, Counter, AttributeDict)  # the last for `self.hparams`
_CONTAINERS: dict[str, Any] = {kind.__name__: kind for kind in (*_SEQUENCES, *_MAPPINGS)}  # by tag
_GENERATORS: dict[Any, str] = {
    random.Random: "Random",
    np.random.Generator: "Generator",
    np.random.RandomState: "RandomState",
    torch.Generator: "torch.Generator",
}
_SHOWN = (bytearray, array, tuple, np.ndarray)  # not saved, but a change in them is seen


class Opaque(NamedTuple):
    """Replaces an object in an encoded value that is not plain, or too large."""

    value: Any
    size: Any = None  # changes with the object, as far as that can be seen without reading all of it


class _TooLargeError(Exception):
    pass


def encode(value: Any) -> Any:
    """Encode a value as plain data, with an `Opaque` for each object in it that is none."""
    try:
        return _Encoder().encode(value)
    except (_TooLargeError, RecursionError):
        return _opaque(value)


class _Encoder:
    """Encodes one value, up to a size."""

    def __init__(self) -> None:
        self._bytes, self._items = MAX_BYTES, MAX_ITEMS

    def encode(self, value: Any) -> Any:
        kind = type(value)
        if kind in _SCALARS:
            self._count(len(value) if kind in (str, bytes) else 8)
            return value
        if kind in _SEQUENCES:
            # sets of equal texts have another order in each process
            items = sorted(value, key=repr) if kind in (set, frozenset) else value
            encoded = [self.encode(item) for item in items]
            return [kind.__name__, encoded, *([value.maxlen] if kind is deque else [])]
        if kind in _MAPPINGS:
            return [kind.__name__, [[self.encode(key), self.encode(item)] for key, item in value.items()]]
        if kind in _GENERATORS:
            return ["generator", _GENERATORS[kind], self.encode(_state_of(value))]
        if isinstance(value, Enum):
            return ["enum", _name(kind), value.name]
        if kind in (torch.dtype, torch.device):
            return [kind.__name__, str(value).removeprefix("torch.")]
        if kind is complex:
            return ["complex", value.real, value.imag]
        return self._encode_array(value)

    def _encode_array(self, value: Any) -> Any:
        if isinstance(value, (np.ndarray, np.generic)) and not value.dtype.hasobject:
            self._count(value.nbytes)
            data = torch.frombuffer(bytearray(value.tobytes()), dtype=torch.uint8) if value.nbytes else None
            return ["array", np.lib.format.dtype_to_descr(value.dtype), list(value.shape), data, np.isscalar(value)]
        if _is_plain_tensor(value):
            self._count(value.nbytes)
            with suppress(NotImplementedError), unfilled_memory():  # torch copies no tensors of 4 bits, say
                kept = value.detach().cpu().clone()
                return ["tensor", kept, value.device.type == "cpu", type(value) is nn.Parameter]
        self._count(8)
        return _opaque(value)

    def _count(self, size: int) -> None:
        self._bytes, self._items = self._bytes - size, self._items - 1
        if self._bytes < 0 or self._items < 0:
            raise _TooLargeError


def _opaque(value: Any) -> Opaque:
    if isinstance(value, Tensor) and not is_lazy(value):
        return Opaque(value, version_of(value))
    if type(value) in _SEQUENCES or type(value) in _MAPPINGS:
        return Opaque(value, len(value))
    return Opaque(value, repr(value) if isinstance(value, _SHOWN) else None)


def _is_plain_tensor(value: object) -> TypeGuard[Tensor]:
    return (
        isinstance(value, Tensor)
        and type(value) in (Tensor, nn.Parameter, nn.Buffer)
        and not is_lazy(value)
        and value.layout is torch.strided
        and not (value.is_quantized or value.is_meta)
    )


def _state_of(generator: Any) -> Any:
    if isinstance(generator, random.Random):
        return generator.getstate()
    if isinstance(generator, np.random.Generator):
        return generator.bit_generator.state
    return generator.get_state(legacy=False) if isinstance(generator, np.random.RandomState) else generator.get_state()


def opaque_in(encoded: Any) -> Iterator[Any]:
    if isinstance(encoded, Opaque):
        yield encoded.value
    elif isinstance(encoded, list):
        for item in encoded:
            yield from opaque_in(item)


def has_generator(encoded: Any) -> bool:
    if isinstance(encoded, list):
        return (len(encoded) == 3 and encoded[0] == "generator") or any(map(has_generator, encoded))
    return False


def fingerprint(encoded: Any) -> str:
    """Return the same text for two encoded values that are the same value."""
    # most values are short, and need no hash
    if type(encoded) in _SCALARS and (type(encoded) not in (str, bytes) or len(encoded) < 64):
        return f"{type(encoded).__name__} {encoded!r}"
    pieces = list(_pieces(encoded))
    start = OF_PROCESS if any(piece.startswith(OF_PROCESS.encode()) for piece in pieces) else ""
    return start + blake2b(b"\0".join(pieces), digest_size=16).hexdigest()


def _pieces(encoded: Any) -> Iterator[bytes]:
    if isinstance(encoded, list):
        yield f"list {len(encoded)}".encode()
        for item in encoded:
            yield from _pieces(item)
    elif isinstance(encoded, Tensor):
        yield f"{encoded.dtype} {tuple(encoded.shape)}".encode()
        yield b"=" + encoded.reshape(-1).view(torch.uint8).numpy().tobytes()
    elif isinstance(encoded, Opaque):
        yield _identity(encoded)
    else:
        yield f"{type(encoded).__name__}={encoded!r}".encode(errors="surrogatepass")


def _identity(opaque: Opaque) -> bytes:
    value = opaque.value
    if isinstance(value, (type, FunctionType)) and "<" not in value.__qualname__:
        return f"named {_name(value)}".encode()
    if isinstance(value, ModuleType):
        return f"module {canonical(value.__name__)}".encode()
    if is_holder(value):  # its attributes have fingerprints of their own
        return f"object {_name(type(value))}".encode()
    return f"{OF_PROCESS}{id(value)} {opaque.size}".encode()


def _name(named: type | FunctionType) -> str:
    # the same whichever package of Lightning was imported first
    return canonical(f"{named.__module__}.{named.__qualname__}")


def restored(encoded: Any, now: Any, device: torch.device) -> Any:
    """Return the value of plain data: the value that is there `now` with other content, where it can have that.

    Tensors that were not on the CPU go to the device.

    Raises:
        CheckpointError: an enum's value, and there is none of that enum now.
    """
    if not isinstance(encoded, list):
        return encoded
    tag, *rest = encoded
    # in place where possible: other objects may refer to the value
    if tag in _CONTAINERS:
        return _restored_container(tag, rest, now, device)
    if tag == "generator":
        return _restored_generator(rest[0], restored(rest[1], None, device), now)
    if tag == "enum":
        if not isinstance(now, Enum) or _name(type(now)) != rest[0]:
            raise CheckpointError(f"there is no {rest[0]} now")
        return type(now)[rest[1]]
    if tag == "array":
        descr, shape, data, is_scalar = rest
        content = b"" if data is None else data.numpy().tobytes()
        array = np.frombuffer(content, np.lib.format.descr_to_dtype(descr)).reshape(shape).copy()
        return array[()] if is_scalar else array
    if tag == "tensor":
        saved, is_on_cpu, is_parameter = rest
        value = _restored_tensor(saved, now, torch.device("cpu") if is_on_cpu else device)
        return nn.Parameter(value) if is_parameter and value is not now else value
    return complex(*rest) if tag == "complex" else torch.device(rest[0]) if tag == "device" else getattr(torch, rest[0])


def _restored_container(tag: str, rest: list[Any], now: Any, device: torch.device) -> Any:
    kind, content = _CONTAINERS[tag], rest[0]
    is_there = type(now) is kind
    if kind in _MAPPINGS:
        before = now if is_there else {}
        pairs = [(restored(key, None, device), item) for key, item in content]
        items: Any = {key: restored(item, before.get(key), device) for key, item in pairs}
        if not is_there:
            return kind(None, items) if kind is defaultdict else kind(items)
        now.clear()
        now.update(items)
        return now
    old = list(now) if is_there and kind not in (set, frozenset) else []
    items = [restored(item, old[n] if n < len(old) else None, device) for n, item in enumerate(content)]
    if not is_there or kind in (tuple, frozenset):
        return deque(items, rest[1]) if kind is deque else kind(items)
    now.clear()
    now.update(items) if kind is set else now.extend(items)
    return now


def _restored_generator(name: str, state: Any, now: Any) -> Any:
    kind = next(kind for kind, known in _GENERATORS.items() if known == name)
    generator: Any = now if type(now) is kind else None
    if kind is np.random.Generator:
        if generator is None or type(generator.bit_generator).__name__ != state["bit_generator"]:
            generator = np.random.Generator(getattr(np.random, state["bit_generator"])())
        generator.bit_generator.state = state
        return generator
    generator = kind() if generator is None else generator
    generator.setstate(state) if kind is random.Random else generator.set_state(state)
    return generator


def _restored_tensor(saved: Tensor, now: object, device: torch.device) -> Tensor:
    if _is_plain_tensor(now) and not now.is_inference() and (now.shape, now.dtype) == (saved.shape, saved.dtype):
        with torch.no_grad():
            kept: Tensor = now if now.grad_fn is None else now.detach()
            return kept.copy_(saved)
    return saved.clone().to(device)
