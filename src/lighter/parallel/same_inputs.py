"""Find layers whose inputs do not fit their style of tensor parallelism: their gradients would be wrong, silently."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.distributed import ProcessGroup, all_gather_object
from torch.distributed.tensor import DTensor
from torch.utils._pytree import tree_leaves

from lighter.errors import MisfitError
from lighter.parallel.settings import REPLICATE, Style

_SAMPLES = 4096
_NEAR, _SHARE = 0.05, 0.9  # kernels that sum in any order give each rank slightly other numbers
_TRIES = 8  # of inputs that are constant, which may be equal by chance
_PARTS = (
    "parallel::plan: the input of `{name}` is not the same on the {size} tensor ranks, which each compute all of this"
    " layer: its weights would drift apart. A layer between a `colwise` and a `rowwise` has weights of its own only if"
    " these two are `replicate` instead, or if it is put before or after both. Where the positions are divided"
    " (`output: 1`), a norm has the style `sequence`, and a `colwise` layer `input: 1`."
)
_WHOLE = (
    "parallel::plan: `{name}` has the style `sequence` and the same input on all {size} tensor ranks, not some of the"
    " positions on each: its gradients would be {size} times as large. Divide the positions in the layers around it:"
    " `{{style: rowwise, output: {dim}}}` before it, `{{style: colwise, input: {dim}}}` after it. Or leave it out of"
    " `plan`."
)


class _Sample(NamedTuple):
    shape: tuple[int, ...]
    values: Tensor
    is_constant: bool  # along the dimension of positions


def check_inputs(layer: nn.Module, name: str, style: Style, group: ProcessGroup) -> None:
    """Have a layer that trains compare its inputs over the tensor ranks, once: at its first call in training.

    What is within a compiled module is not compared.

    Raises:
        MisfitError: in that call, as the inputs do not fit the style.
    """
    is_sequence = style.kind == "sequence"
    if not is_sequence and (style.kind not in ("colwise", REPLICATE) or style.input not in (None, REPLICATE)):
        return
    dim = style.positions
    tries = 0

    def compare(layer: nn.Module, inputs: Any) -> None:
        nonlocal tries
        if torch.compiler.is_compiling() or not _trains(layer) or tries == _TRIES:
            return
        tensors = [leaf for leaf in tree_leaves(inputs) if _is_plain(leaf)]
        if any(isinstance(tensor, FakeTensor) for tensor in tensors):
            return
        samples: list[Any] = [None] * group.size()
        all_gather_object(samples, [_sample(tensor, dim) for tensor in tensors], group=group)
        is_same = all(_are_near(samples[0], other) for other in samples[1:])
        if not is_sequence and not is_same:
            raise MisfitError(_PARTS.format(name=name, size=group.size()))
        is_constant = all(sample.is_constant for each in samples for sample in each)
        if is_sequence and is_same and not is_constant:
            raise MisfitError(_WHOLE.format(name=name, size=group.size(), dim=dim))
        tries += 1
        if not (is_sequence and is_same) or tries == _TRIES:
            tries = _TRIES
            handle.remove()

    handle = layer.register_forward_pre_hook(compare)


def _trains(layer: nn.Module) -> bool:
    is_training = layer.training and torch.is_grad_enabled()
    return is_training and any(parameter.requires_grad for parameter in layer.parameters())


def _is_plain(leaf: object) -> bool:
    is_plain = isinstance(leaf, Tensor) and not isinstance(leaf, DTensor)
    return is_plain and leaf.layout is torch.strided and not leaf.is_complex()  # type: ignore[attr-defined]


def _sample(tensor: Tensor, dim: int) -> _Sample:
    tensor = tensor.detach().nan_to_num()
    flat = tensor.reshape(-1)
    count = min(len(flat), _SAMPLES)
    # an odd step: an even one may take the same few features of each position
    indices = torch.arange(count, device=flat.device) * (len(flat) // max(count, 1) | 1) % max(len(flat), 1)
    has_positions = tensor.dim() > dim and tensor.size(dim) > 1
    is_constant = not has_positions or bool((tensor == tensor.narrow(dim, 0, 1)).all())
    return _Sample(tuple(tensor.shape), flat[indices].cpu(), is_constant)


def _are_near(ones: Sequence[_Sample], others: Sequence[_Sample]) -> bool:
    if [one.shape for one in ones] != [other.shape for other in others]:
        return False
    return all(_is_near(one.values, other.values) for one, other in zip(ones, others, strict=True))


def _is_near(one: Tensor, other: Tensor) -> bool:
    if not (one.is_floating_point() and other.is_floating_point()):
        return torch.equal(one, other)
    one, other = one.double(), other.double()
    # not by the largest number: a few features may be far larger than all others
    near = (one - other).abs() <= _NEAR * torch.maximum(one.abs(), other.abs())
    near = near[(one != 0) | (other != 0)]
    return not len(near) or float(near.double().mean()) >= _SHARE
