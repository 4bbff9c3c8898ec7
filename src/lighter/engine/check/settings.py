"""Settings that are legal, but slow or wrong: warnings, and only of what can be proved."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from typing import Any

from lighter.config.check.other_tools import interpolation_in
from lighter.config.problems import WARNING
from lighter.config.tree import Node, is_reference, is_target, join
from lighter.engine.check.found import Found

_RANDOM = re.compile("rand|choice|choose|sample|shuffle|permut")


def check_settings(found: Found) -> None:
    """Add a warning, with the reason, for each setting that costs time or does not do what it seems to."""
    _check_interpolations(found)
    if "torch" not in sys.modules:
        return
    if found.stage == "fit":
        _check_shuffle(found)
        _check_softmax(found)
    _check_validation(found)


def _check_interpolations(found: Found) -> None:
    """OmegaConf's `${a.b}` within a text, which is text here."""
    for path, node in found.tree.walk():
        if isinstance(node.value, str) and "${" in node.value and not is_reference(node.value):
            meant = interpolation_in(node.value, found.tree)
            if meant is not None:
                found.problem("`${...}` is OmegaConf's; here it stays text", path, f"Write {meant}", WARNING)


def _check_shuffle(found: Found) -> None:
    """A train loader of a dataset with an order, which it keeps in every epoch."""
    data = sys.modules["torch.utils.data"]
    for path in _train_loaders(found):
        node = found.node(path)
        if found.kind(path) is not data.DataLoader or "_args_" in node.value:
            continue
        given = {key for key in ("shuffle", "sampler", "batch_sampler") if _is_given(node.value.get(key))}
        if not given and _has_order(found, path, data):
            message = "the train loader does not shuffle: every epoch sees the samples in the same order"
            hint = "Add `shuffle: true`, or a `sampler`. `shuffle: false` says that it is meant."
            found.problem(message, path, hint, WARNING)


def _is_given(node: Node | None) -> bool:
    return node is not None and node.value is not None


def _train_loaders(found: Found) -> Iterator[str]:
    if found.section == "system":
        loaders = found.argument("system", "dataloaders")
        train = found.argument(loaders[0], "train") if loaders is not None else None
    else:
        train = found.argument("data", "train_dataloader")
    if train is not None:
        yield train[0]


def _has_order(found: Found, path: str, data: Any) -> bool:
    """Whether the dataset of a loader is known to be one of items with indices, none of them drawn at random."""
    dataset = found.argument(path, "dataset")
    kind = found.kind(dataset[0]) if dataset is not None else None
    if kind is None or not issubclass(kind, data.Dataset) or issubclass(kind, data.IterableDataset):
        return False
    code = getattr(getattr(kind, "__getitem__", None), "__code__", None)
    return code is not None and not any(_RANDOM.search(name) for name in code.co_names)


def _check_softmax(found: Found) -> None:
    """A network that ends in a softmax, which the loss takes again."""
    nn = sys.modules["torch.nn"]
    criterion = found.argument(found.section, "criterion")
    network = found.argument(found.section, "model" if found.section == "system" else "network")
    if criterion is None or network is None or found.kind(criterion[0]) is not nn.CrossEntropyLoss:
        return
    args = found.argument(network[0], "_args_") if found.kind(network[0]) is nn.Sequential else None
    if args is None or not isinstance(args[1].value, list) or not args[1].value or _adapts(found):
        return
    last = join(args[0], len(args[1].value) - 1)
    if found.kind(last) is nn.Softmax:
        message = "CrossEntropyLoss takes the softmax itself: after this one, the network learns slowly"
        found.problem(message, last, "Leave this layer out.", WARNING)


def _adapts(found: Found) -> bool:
    """Whether an adapter stands between the network and the loss."""
    if found.section != "system":
        return False
    return found.tree.find("system::adapters::train") is not None


def _check_validation(found: Found) -> None:
    """Metrics that look at the values of their inputs, for which the host waits for the GPU at every update."""
    torchmetrics = sys.modules.get("torchmetrics")
    if torchmetrics is None or not _on_gpu(found):
        return
    for path, target in found.targets.items():
        if not (isinstance(target, type) and issubclass(target, torchmetrics.Metric)) or is_reference(path):
            continue
        parameter = inspect.signature(target).parameters.get("validate_args")
        node = found.node(path)
        if parameter is not None and parameter.default is True and is_target(node.value):
            given = node.value.get("validate_args")
            if given is None or given.value is True:
                message = f"{target.__name__} checks its inputs at every update, for which the host waits for the GPU"
                hint = "Once the data is known to be right: `validate_args: false`."
                found.problem(message, path, hint, WARNING)


def _on_gpu(found: Found) -> bool:
    """Whether the trainer is told to use a GPU, or finds one."""
    accelerator = found.argument("trainer", "accelerator")
    value = accelerator[1].value if accelerator is not None else "auto"
    return value in ("gpu", "cuda") or (value == "auto" and sys.modules["torch"].cuda.device_count() > 0)
