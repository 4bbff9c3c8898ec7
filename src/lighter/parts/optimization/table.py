"""A table of the optimizers of a fit: what trains, and how."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from io import StringIO

from pytorch_lightning.utilities.types import LRSchedulerConfig
from rich.console import Console
from rich.table import Table
from rich.text import Text
from torch import Tensor
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from lighter.parts.optimization.lr_schedules import ManualSchedules
from lighter.parts.optimization.parameter_names import shortened_names
from lighter.parts.optimization.parameter_types import Named

_WIDTH, _INDENT = 98, "  "
_COLUMNS = ("optimizer", "parameters", "tensors", "elements", "lr", "weight decay", "schedule")
_NUMBERS = _COLUMNS[2:6]


def optimizer_table(
    optimizers: Sequence[Optimizer],
    named: Named,
    prefixes: Sequence[str],
    configs: Iterable[LRSchedulerConfig],
    manual: ManualSchedules,
    *,
    automatic: bool = True,
    width: int | None = None,
) -> str:
    """Format a table with a line for each parameter group, and for what does not train.

    It is indented by two columns; `width` is without them. By default that of the terminal, at most 100.
    """
    # rich, as it wraps long names in their column and measures wide characters
    table = Table(box=None, pad_edge=False, header_style="")
    for column in _COLUMNS:
        number = column in _NUMBERS
        table.add_column(column, justify="right" if number else "left", no_wrap=number, overflow="fold")
    schedules = [(config.scheduler.optimizer, _stepped(config, automatic)) for config in configs]
    for row in _rows(optimizers, named, prefixes, schedules, manual):
        table.add_row(*(Text(cell) for cell in row))
    text = StringIO()
    width = width or _shown_width()
    # in a notebook, rich would display the table at once instead of writing it into the file
    Console(
        file=text, width=width, color_system=None, force_terminal=False, force_jupyter=False, legacy_windows=False
    ).print(table)
    return "\n".join(["optimizers:", *(f"{_INDENT}{line}".rstrip() for line in text.getvalue().splitlines())])


def _shown_width() -> int:
    is_watched = sys.stderr is not None and sys.stderr.isatty()
    return min(_WIDTH, shutil.get_terminal_size().columns - len(_INDENT)) if is_watched else _WIDTH


def _rows(
    optimizers: Sequence[Optimizer],
    named: Named,
    prefixes: Sequence[str],
    stepped: Sequence[tuple[Optimizer, str]],
    manual: ManualSchedules,
) -> Iterator[list[str]]:
    for optimizer in optimizers:
        schedules = [schedule for owner, schedule in stepped if owner is optimizer]
        schedules += [str(schedule) for schedule in manual.of(optimizer)]
        rates = manual.learning_rates(optimizer)
        for index, (group, lr) in enumerate(zip(optimizer.param_groups, rates, strict=True)):
            head = type(optimizer).__name__ if index == 0 else ""
            decay = f"{float(group['weight_decay']):.4g}" if "weight_decay" in group else ""
            last = "\n".join(schedules) if index == 0 else ""
            yield [head, *_about(group["params"], named, prefixes), f"{lr:.4g}", decay, last]
    taken = {id(p) for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]}
    # a trainable parameter in no optimizer is most often a mistake, so it is shown too
    for label, trains in (("frozen", False), ("in none", True)):
        left = [p for _, p in named if p.requires_grad == trains and id(p) not in taken]
        if left:
            yield [label, *_about(left, named, prefixes), "", "", ""]


def _about(tensors: Sequence[Tensor], named: Named, prefixes: Sequence[str]) -> list[str]:
    ids = {id(tensor) for tensor in tensors}
    chosen = [name for name, parameter in named if id(parameter) in ids]
    names = shortened_names(chosen, [name for name, _ in named], prefixes)
    foreign = len(ids) - len(chosen)
    names += (", " if names and foreign else "") + (f"{foreign} not of the module" if foreign else "")
    elements = "?" if any(is_lazy(t) for t in tensors) else f"{sum(t.numel() for t in tensors):,}"
    return [names, f"{len(tensors):,}", elements]


def _stepped(config: LRSchedulerConfig, automatic: bool) -> str:
    if not automatic:  # Lightning knows the scheduler, and steps it in automatic optimization only
        return f"{config.scheduler.__class__.__name__}, stepped by your code"
    often = config.interval if config.frequency == 1 else f"{config.frequency} {config.interval}s"
    watched = f" by {config.monitor}" if config.reduce_on_plateau else ""
    return f"{config.scheduler.__class__.__name__}{watched}, every {often}"
