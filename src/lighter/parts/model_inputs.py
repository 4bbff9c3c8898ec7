"""The inputs of a model: one, or several that are passed by position or by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lighter.parts.describe import describe

SEVERAL_INPUTS_ADVICE = (
    "it got this as one argument; `input_accessor: [0, 1]` passes several inputs by position,"
    " `input_accessor: {image: 0, age: 2}` by name"
)


# types of their own tell several inputs from one input that happens to be a tuple or a dict
class PositionalInputs(tuple[Any, ...]):
    """Several inputs, passed to the model's `forward` one after the other."""


class NamedInputs(dict[str, Any]):
    """Several inputs, passed to the model's `forward` by the names of its arguments."""


def several_inputs(inputs: object) -> Any:
    # a transform may have made one input of several, which is then passed alone
    if isinstance(inputs, Mapping):
        return NamedInputs((str(key), value) for key, value in inputs.items())
    return PositionalInputs(inputs) if isinstance(inputs, (list, tuple)) else inputs


def plain_inputs(inputs: object) -> Any:
    if isinstance(inputs, NamedInputs):
        return dict(inputs)
    return tuple(inputs) if isinstance(inputs, PositionalInputs) else inputs


def described_inputs(inputs: object) -> str:
    if isinstance(inputs, NamedInputs):
        return f"({', '.join(f'{name}={describe(value)}' for name, value in inputs.items())})"
    return f"({', '.join(map(describe, inputs))})" if isinstance(inputs, PositionalInputs) else describe(inputs)


def advise_single(batch: dict[Any, Any] | Sequence[Any]) -> str:
    """Advise how a model that takes one input gets that instead of the whole batch."""
    first = next(iter(batch)) if isinstance(batch, dict) else 0
    return (
        f"it takes one input, and got all of these; `input_accessor: {first}` passes the first alone:"
        f" `batch: {{_target_: lighter.adapters.BatchAdapter, input_accessor: {first}}}`"
    )
