"""The section `parallel`: its keys, and whether it fits the trainer and the module's class."""

from __future__ import annotations

import pytorch_lightning as pl

from lighter.base import BaseModule
from lighter.config.annotations import UNKNOWN
from lighter.config.check.calls import plain
from lighter.config.problems import indefinite
from lighter.config.tree import join
from lighter.engine.check.constructors import is_known
from lighter.engine.check.context import Context
from lighter.engine.check.devices import count as counted
from lighter.engine.check.sections import has_mistakes, values_of
from lighter.engine.parallel import NO_PRECISION, NOT_BESIDE, NOT_PLAIN, NOT_PREDICTED, PARALLEL
from lighter.parallel.averages import AVERAGES, NOT_AVERAGED
from lighter.parallel.settings import PRECISIONS, misfit, mistakes

_PRECISIONS: tuple[object, ...] = (*PRECISIONS, 32, "32", "bf16")


def check_parallel(context: Context) -> None:
    """Add a problem for each mistake in `parallel`, and for what in the trainer it does not work with."""
    section = values_of(context, PARALLEL)
    if section is None:
        return
    path, values = section
    is_wrong = has_mistakes(context, path, values, mistakes)
    kind = context.kind(context.section)
    if kind is not None and issubclass(kind, pl.LightningModule) and not issubclass(kind, BaseModule):
        context.problem(NOT_PLAIN.format(kind.__name__), path, "trainer::strategy=fsdp, or leave `parallel` out.")
    _check_trainer(context)
    tensor = values.get("tensor")
    if context.stage == "predict" and type(tensor) is int and tensor > 1:
        context.problem(NOT_PREDICTED.format(tensor), join(path, "tensor"), "For a prediction: parallel::tensor=1")
    if not is_wrong:
        _check_sizes(context, path, values)


def _check_trainer(context: Context) -> None:
    for path, kind in context.objects("callbacks"):
        if kind is not None and issubclass(kind, AVERAGES):
            context.problem(NOT_AVERAGED.format(kind.__name__), path, "Leave one of them out.")
    strategy = context.argument("trainer", "strategy")
    if strategy is not None and strategy[1].value != "auto":
        written = plain(strategy[1])
        shown = f"`{written}`" if isinstance(written, str) else indefinite(strategy[1].plain())
        context.problem(NOT_BESIDE.format(shown), strategy[0], "Leave one of them out.")
    precision = context.argument("trainer", "precision")
    if precision is not None:
        value = plain(precision[1])
        if is_known(value) and value not in _PRECISIONS:
            context.problem(NO_PRECISION.format(", ".join(PRECISIONS), f"`{value}`"), precision[0])


def _check_sizes(context: Context, path: str, values: dict[str, object]) -> None:
    """Compare the sizes with the number of processes, where the config says how many these are."""
    data, tensor = values.get("data"), values.get("tensor") or 1
    devices, nodes = context.plain("trainer", "devices"), context.plain("trainer", "num_nodes", 1)
    count = counted(devices)
    if devices is None and data not in (None, "auto"):
        count = None  # the engine asks for as many as are needed
        if type(nodes) is int and type(data) is int and type(tensor) is int and data * tensor % nodes:
            context.problem(f"data={data} times tensor={tensor} processes do not fit on {nodes} nodes", path)
    elif devices in (None, "auto") and context.plain("trainer", "accelerator") == "cpu":
        count = 1
    if count is None or type(nodes) is not int or type(tensor) is not int or data is UNKNOWN:
        return
    wrong = misfit(data if type(data) is int else None, tensor, count * nodes)
    if wrong:
        context.problem(wrong, path, "`trainer::devices` times `num_nodes` is the number of processes.")
