"""The keys of the section `parallel`, and their mistakes. Nothing of torch is imported here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lighter.config.problems import indefinite, nearest

AUTO, REPLICATE = "auto", "replicate"
KEYS = ("data", "tensor", "shard", "checkpoint_activations", "compile", "plan")
PATTERNS = ("shard", "checkpoint_activations", "compile")
STYLES = ("colwise", "rowwise", "sequence", REPLICATE)
STYLE_KEYS = ("style", "input", "output")
PRECISIONS = ("32-true", "bf16-mixed", "bf16-true", "16-true")
EXAMPLE = 'parallel: {data: 2, tensor: 1, shard: ["network.layers.*"]}'
PLAN_EXAMPLE = 'plan: {"layers.*.attn.q": colwise, "layers.*.attn.o": rowwise}'
NO_SHARDS = "without shards there is nothing to divide over the data ranks"
NO_SHARDS_HINT = "For a whole network on each process, leave out `parallel`: trainer::strategy=ddp"

Mistake = tuple[str, str, str]
"""The key of the section, or a path in it joined by `::`; a message and a hint."""
Layout = int | str | None


@dataclass(frozen=True)
class Style:
    """The division of a module over the tensor ranks.

    Attributes:
        kind: one of `STYLES`.
        input: the dimension that the input is divided in, or `replicate`; None for the style's own.
        output: likewise of the output.
    """

    kind: str
    input: Layout = None
    output: Layout = None

    @classmethod
    def of(cls, value: str | Mapping[str, Any]) -> Style:
        if isinstance(value, str):
            return cls(value)
        return cls(value["style"], value.get("input"), value.get("output"))

    @property
    def positions(self) -> int:
        """The dimension that `sequence` divides."""
        return self.input if isinstance(self.input, int) else 1


@dataclass(frozen=True)
class ParallelSettings:
    """The section `parallel`.

    Attributes:
        data: how many processes have data of their own; None for as many as there are.
        tensor: over how many processes each layer in `plan` is divided.
        shard: patterns of the modules whose weights are gathered together; None for the items of each `ModuleList`.
        checkpoint_activations: patterns of the modules whose activations are computed again in the backward pass.
        compile: patterns of the modules that `torch.compile` compiles.
        plan: a style for the modules that each pattern names.
    """

    data: int | None = None
    tensor: int = 1
    shard: Sequence[str] | None = None
    checkpoint_activations: Sequence[str] = ()
    compile: Sequence[str] = ()
    plan: Mapping[str, Style] = field(default_factory=dict)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> ParallelSettings:
        """Make the settings of values without mistakes."""
        given = {key: value for key, value in values.items() if value is not None}
        given |= {key: _listed(given[key]) for key in PATTERNS if key in given}
        if given.get("data") == AUTO:
            del given["data"]
        plan = {pattern: Style.of(style) for pattern, style in given.pop("plan", {}).items()}
        return cls(**given, plan=plan)

    def sizes(self, processes: int) -> tuple[int, int]:
        """Return how many processes the data is divided over, and each layer.

        Raises:
            ValueError: the sizes do not fit the number of processes.
        """
        wrong = misfit(self.data, self.tensor, processes)
        if wrong:
            raise ValueError(wrong)
        return processes // self.tensor, self.tensor

    def patterns(self) -> Iterator[tuple[str, str]]:
        """Yield the path in the section and the text of each pattern."""
        for key in PATTERNS:
            yield from ((f"{key}::{index}", pattern) for index, pattern in enumerate(getattr(self, key) or ()))
        yield from ((f"plan::{pattern}", pattern) for pattern in self.plan)


def misfit(data: int | None, tensor: int, processes: int) -> str:
    """Return what is wrong with the sizes for a number of processes; nothing if they fit."""
    if data is None and processes % tensor:
        return f"{processes} processes cannot be divided by tensor={tensor}"
    if data is not None and data * tensor != processes:
        return f"data={data} times tensor={tensor} are {data * tensor} processes, and the trainer has {processes}"
    return ""


def mistakes(values: Mapping[str, Any], is_known: Callable[[object], bool] = lambda value: True) -> Iterator[Mistake]:
    """Yield what is wrong with the values of the section; of those that are not known yet, nothing."""
    for key, value in values.items():
        if key not in KEYS:
            yield key, "this key of `parallel` is unknown", nearest(key, KEYS)
        elif value is not None and is_known(value):
            yield from _mistakes_in(key, value, is_known)
    tensor = values.get("tensor", 1)
    if type(tensor) is int and tensor > 1 and not values.get("plan"):
        message = f"tensor={tensor} divides the layers that `plan` names, and it names none"
        yield "tensor", message, f"Add one, or `tensor: 1`. For example: {PLAN_EXAMPLE}"
    data, many = values.get("data"), type(tensor) is int and tensor > 1
    # beside `tensor`, `auto` may come to 1: `ParallelStrategy.divide` knows
    if values.get("shard") == [] and is_known(data) and data != 1 and not (many and data in (None, AUTO)):
        yield "shard", NO_SHARDS, NO_SHARDS_HINT


def _mistakes_in(key: str, value: Any, is_known: Callable[[object], bool]) -> Iterator[Mistake]:
    if key in ("data", "tensor"):
        auto = " or `auto`" if key == "data" else ""
        if not (type(value) is int and value >= 1) and not (key == "data" and value == AUTO):
            yield key, f"`{key}` is a number of processes, from 1 on{auto}; found {indefinite(value)}", ""
    elif key in PATTERNS:
        listed = value if isinstance(value, list) else [value]
        for index, each in enumerate(listed):
            if is_known(each) and not (isinstance(each, str) and each):
                path = f"{key}::{index}" if isinstance(value, list) else key
                hint = f'A name of a module or a pattern: {key}: ["network.layers.*"]'
                yield path, f"`{key}` is a list of patterns of modules; found {indefinite(each)}", hint
    elif not isinstance(value, Mapping):
        yield key, f"`plan` gives a style to each pattern; found {indefinite(value)}", f"For example: {PLAN_EXAMPLE}"
    else:
        for pattern, style in value.items():
            if is_known(style):
                yield from _mistakes_in_style(f"plan::{pattern}", style, is_known)


def _mistakes_in_style(path: str, style: Any, is_known: Callable[[object], bool]) -> Iterator[Mistake]:
    kind = style.get("style") if isinstance(style, Mapping) else style
    if is_known(kind) and kind not in STYLES:
        hint = nearest(kind, STYLES) if isinstance(kind, str) else f"One of {', '.join(STYLES)}."
        what = indefinite(kind) if not isinstance(kind, str) else f"`{kind}`"
        yield path, f"there is no such style of tensor parallelism: {what}", hint
    for key, layout in style.items() if isinstance(style, Mapping) else ():
        if key not in STYLE_KEYS:
            yield f"{path}::{key}", "this key of a style is unknown", nearest(key, STYLE_KEYS)
        elif key != "style" and is_known(layout) and layout != REPLICATE and type(layout) is not int:
            message = f"`{key}` is the dimension that is divided, or `replicate`; found {indefinite(layout)}"
            yield f"{path}::{key}", message, ""
        elif key != "style" and kind == REPLICATE:
            yield f"{path}::{key}", "the style `replicate` has whole inputs and outputs", "Leave this out."


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]
