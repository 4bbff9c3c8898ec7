"""The dataloaders that `data::split` cuts: where they are, and those that it adds to an expanded tree.

Without a validation loader there is one like the training loader, in order and whole. With `predict: val`, what is
predicted is the validation side.
"""

from __future__ import annotations

from typing import NamedTuple

from lighter.config.expression import absolute_if_any
from lighter.config.references import followed
from lighter.config.tree import Node, is_target, join

_LABELLED = {"_target_": "lighter.adapters.BatchAdapter", "input_accessor": 0, "target_accessor": 1}
_OF_TRAINING = ("shuffle", "sampler", "batch_sampler", "drop_last", "generator")


class SplitPlaces(NamedTuple):
    """The paths of a split, and of the loaders by mode, which need not be there."""

    split: str
    train: str
    val: str
    predict: str


def split_places(root: Node) -> SplitPlaces | None:
    """Return where a split and its loaders are: in `data`, or in a `system`; None if nothing is split."""
    data = followed(root, "data")
    node = root.find(data)
    split = node.child("split") if node is not None and isinstance(node.value, dict) else None
    if node is None or split is None or split.value is None:
        return None
    loaders, suffix = data, "_dataloader"
    if not is_target(node.value):
        loaders, suffix = followed(root, join(followed(root, "system"), "dataloaders")), ""
    return SplitPlaces(join(data, "split"), *(join(loaders, mode + suffix) for mode in ("train", "val", "predict")))


def add_split_loaders(root: Node) -> None:
    """Add the loaders that a split makes. What is wrong with it, or lies elsewhere, is left for the check."""
    places = split_places(root)
    split = root.find(places.split) if places is not None else None
    # a class may have an argument of this name
    if places is None or split is None or not isinstance(split.value, dict):
        return
    if not {"kind", "splitter"} & set(split.value):
        return
    _add(root, places.val, places.train)
    predict = split.value.get("predict")
    if predict is not None and predict.value == "val":
        _add(root, places.predict, places.val, replace=True)
        _add_batch_adapter(root)


def is_added(loader: Node, like: str, model: Node) -> bool:
    """Return whether a loader is one that a split has made like another, at a path."""
    keys = set(model.value) - set(_OF_TRAINING)
    dataset = loader.value.get("dataset") if isinstance(loader.value, dict) else None
    return dataset is not None and set(loader.value) == keys and dataset.value == f"@{join(like, 'dataset')}"


def _add(root: Node, path: str, like: str, *, replace: bool = False) -> None:
    above, _, key = path.rpartition("::")
    holder, like = root.find(above), followed(root, like)
    model = root.find(like)
    if holder is None or not isinstance(holder.value, dict) or model is None or not is_target(model.value):
        return
    there = holder.value.get(key)
    if "dataset" in model.value and (replace or there is None or there.value is None):
        arguments = {name: child for name, child in model.value.items() if name not in _OF_TRAINING}
        kept = {name: _moved(child, join(like, name)) for name, child in arguments.items()}
        dataset = model.value["dataset"]
        kept["dataset"] = Node(f"@{join(like, 'dataset')}", dataset.origin, dataset.key_origin)
        holder.value[key] = Node(kept, model.origin, model.key_origin)


def _add_batch_adapter(root: Node) -> None:
    """Let a system that says nothing else take labelled samples apart in `predict` as it does in validation."""
    system = followed(root, "system")
    node = root.find(system)
    if node is None or not is_target(node.value):
        return
    of_val = root.find(join(system, "adapters::val::batch"))
    model, path = of_val, followed(root, join(system, "adapters::val::batch"))
    if model is None or model.value is None:
        model, path = Node({key: Node(value, node.origin) for key, value in _LABELLED.items()}, node.origin), ""
    for step in ("adapters", "predict"):
        there = node.value.get(step)
        if there is None or there.value is None:
            there = node.value[step] = Node({}, node.origin)
        if not isinstance(there.value, dict) or is_target(there.value):  # what is elsewhere says it itself
            return
        node = there
    if "batch" not in node.value:
        node.value["batch"] = _moved(model, path)


def _moved(node: Node, path: str) -> Node:
    """Return a copy of a node that refers from anywhere to what it refers to at its path."""
    value = node.value
    if isinstance(value, dict):
        value = {key: _moved(child, join(path, key)) for key, child in value.items()}
    elif isinstance(value, list):
        value = [_moved(child, join(path, index)) for index, child in enumerate(value)]
    elif isinstance(value, str) and value[:1] in ("@", "$"):
        value = absolute_if_any(path, value) or value
    return Node(value, node.origin, node.key_origin)
