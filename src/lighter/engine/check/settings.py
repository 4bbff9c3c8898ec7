"""Settings that are legal, but slow or wrong: warnings, and only of what can be proved."""

from __future__ import annotations

import inspect
import re

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset
from torchmetrics import Metric

from lighter.config.check.other_tools import interpolation_in
from lighter.config.problems import WARNING
from lighter.config.tree import is_reference, is_target, join
from lighter.engine.check.context import Context

_RANDOM = re.compile("rand|choice|choose|sample|shuffle|permut")


def check_settings(context: Context) -> None:
    """Add a warning, with the reason, for each setting that costs time or does not do what it seems to."""
    _check_interpolations(context)
    if context.stage == "fit":
        _check_shuffle(context)
        _check_softmax(context)
    _check_metric_inputs(context)


def _check_interpolations(context: Context) -> None:
    # OmegaConf's `${a.b}` is text here.
    for path, node in context.tree.walk():
        if isinstance(node.value, str) and "${" in node.value and not is_reference(node.value):
            meant = interpolation_in(node.value, context.tree)
            if meant is not None:
                context.problem("`${...}` is OmegaConf's; here it stays text", path, f"Write {meant}", WARNING)


def _check_shuffle(context: Context) -> None:
    # A loader keeps the order of its dataset in every epoch, if it is not told otherwise.
    keys = ("system", "dataloaders", "train") if context.section == "system" else ("data", "train_dataloader")
    train = context.argument(*keys)
    if train is None or context.kind(train[0]) is not DataLoader or "_args_" in train[1].value:
        return
    path, node = train
    samplers = (node.value.get(key) for key in ("shuffle", "sampler", "batch_sampler"))
    if all(each is None or each.value is None for each in samplers) and _has_order(context, path):
        message = "the train loader does not shuffle: every epoch sees the samples in the same order"
        hint = "Add `shuffle: true`, or a `sampler`. `shuffle: false` says that it is meant."
        context.problem(message, path, hint, WARNING)


def _has_order(context: Context, path: str) -> bool:
    dataset = context.argument(path, "dataset")
    kind = context.kind(dataset[0]) if dataset is not None else None
    if kind is None or not issubclass(kind, Dataset) or issubclass(kind, IterableDataset):
        return False
    # A dataset that draws its items at random needs no shuffling; of code in C nothing is known.
    code = getattr(getattr(kind, "__getitem__", None), "__code__", None)
    return code is not None and not any(_RANDOM.search(name) for name in code.co_names)


def _check_softmax(context: Context) -> None:
    # The loss takes the softmax itself, and with two of them the network learns slowly.
    criterion = context.argument(context.section, "criterion")
    network = context.argument(context.section, "model" if context.section == "system" else "network")
    if criterion is None or network is None or context.kind(criterion[0]) is not nn.CrossEntropyLoss:
        return
    layers = context.argument(network[0], "_args_") if context.kind(network[0]) is nn.Sequential else None
    has_adapter = context.section == "system" and context.tree.find("system::adapters::train") is not None
    if layers is None or not isinstance(layers[1].value, list) or not layers[1].value or has_adapter:
        return
    last = join(layers[0], len(layers[1].value) - 1)
    if context.kind(last) is nn.Softmax:
        message = "CrossEntropyLoss takes the softmax itself: after this one, the network learns slowly"
        context.problem(message, last, "Leave this layer out.", WARNING)


def _check_metric_inputs(context: Context) -> None:
    # To look at a value on a GPU, the host waits for it.
    accelerator = context.argument("trainer", "accelerator")
    value = accelerator[1].value if accelerator is not None else "auto"
    if value not in ("gpu", "cuda") and not (value == "auto" and torch.cuda.device_count() > 0):
        return
    for path, target in context.targets.items():
        if not (isinstance(target, type) and issubclass(target, Metric)):
            continue
        parameter = inspect.signature(target).parameters.get("validate_args")
        node = context.node(path)
        if parameter is not None and parameter.default is True and is_target(node.value):
            written = node.value.get("validate_args")
            if written is None or written.value is True:
                message = f"{target.__name__} checks its inputs at every update, for which the host waits for the GPU"
                hint = "Once the data is known to be right: `validate_args: false`."
                context.problem(message, path, hint, WARNING)
