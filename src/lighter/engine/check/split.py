"""The split of a config's data (`data::split`): its settings, and the loaders that it cuts."""

from __future__ import annotations

from importlib.util import find_spec

from lighter.config.split_loaders import SplitPlaces, is_added, split_places
from lighter.config.tree import Node, is_reference, is_target, join
from lighter.engine.check.context import Context
from lighter.splits.settings import NEED_SCIKIT, NEEDS_SCIKIT, VALIDATION, SplitSettings, parse


def is_split_alone(node: Node) -> bool:
    """Return whether `data` makes no data module."""
    return isinstance(node.value, dict) and not is_target(node.value) and "split" in node.value


def without_split(context: Context, path: str, node: Node) -> tuple[Node, list[str]]:
    """Return the definition of a data module without its split, and the arguments that the engine gives for that."""
    plan = context.plan.data if context.plan is not None else None
    if plan is None or plan.path != path or plan.for_split is None or "split" not in node.value:
        return node, []
    kept = {key: child for key, child in node.value.items() if key != "split"}
    return Node(kept, node.origin, node.key_origin), [*plan.for_split]


def predicts_validation(context: Context) -> bool:
    """Return whether a data module with loaders of its own predicts its validation side."""
    plan = context.plan.data if context.plan is not None else None
    predict = context.tree.find(join(join(plan.path, "split"), "predict")) if plan is not None else None
    is_own = plan is not None and bool(plan.for_split)
    return context.stage == "predict" and is_own and predict is not None and predict.value == VALIDATION


def check_split(context: Context) -> None:
    """Add the problems of a split."""
    places = split_places(context.tree)
    plan = context.plan.data if context.plan is not None else None
    data = context.node(places.split.rpartition("::")[0]) if places is not None else None
    if places is None or plan is None or data is None or (is_target(data.value) and plan.for_split is None):
        return
    if not is_target(data.value) and context.section != "system":  # which the first tier has said
        return
    settings = parse(context.node(places.split), places.split, context.problems)
    if settings is None:
        return
    if settings.kind in NEED_SCIKIT and find_spec("sklearn") is None:
        message = f"a {settings.kind} split is scikit-learn's, which is not installed"
        context.problem(message, join(places.split, "kind"), NEEDS_SCIKIT)
    if plan.for_split:
        _check_indices(context, places, settings)
    else:
        _check_loaders(context, places, settings)


def _check_indices(context: Context, places: SplitPlaces, settings: SplitSettings) -> None:
    if not {"dataset", "n_samples", "labels", "groups", "times"} & settings.given:
        message = "how many samples there are to split is not known, as the data module makes its own loaders"
        hint = "Add `dataset: {...}`, `n_samples`, or the `labels` of all samples."
        context.problem(message, places.split, hint)


def _check_loaders(context: Context, places: SplitPlaces, settings: SplitSettings) -> None:
    for key in sorted({"dataset", "n_samples"} & settings.given):
        message = f"`{key}` is for a data module that makes its own loaders; here the train loader's dataset is split"
        context.problem(message, join(places.split, key), "Leave it out.")
    train = _loader(context, places.train)
    if train is None:
        _explain_no_loader(context, places)
        return
    _check_dataset(context, *train)
    val = _loader(context, places.val)
    if val is not None:
        _check_dataset(context, *val)
        if is_target(train[1].value) and "batch_sampler" in train[1].value and is_added(val[1], *train):
            message = "the loader of the validation side is made like this one, whose batches are its sampler's"
            context.problem(message, join(train[0], "batch_sampler"), f"Add `{places.val}`.")
    predict = _loader(context, places.predict)
    if settings.predict == VALIDATION and predict is None:
        context.problem("there is no validation loader to predict with", join(places.split, "predict"))


def _loader(context: Context, path: str) -> tuple[str, Node] | None:
    """Return path and node of a loader, through references; None where there is none."""
    path = context.followed(path)
    node = context.tree.find(path)
    return (path, node) if node is not None and node.value is not None else None


def _explain_no_loader(context: Context, places: SplitPlaces) -> None:
    kind = context.kind("data")
    above = context.tree.find(places.train.rpartition("::")[0])
    if above is not None and is_reference(above.value):
        message = "`split` cuts dataloaders whose definitions can be read; these are worked out by an expression"
    elif kind is not None and kind.__module__.partition(".")[0] != "lighter":
        message = f"{kind.__name__} makes its own loaders, and takes no indices to split its data by"
        context.problem(message, places.split, "Give it the arguments `train_indices` and `val_indices`.")
        return
    else:
        message = f"`split` cuts the dataset of `{places.train}`, and there is none"
    context.problem(message, places.split)


def _check_dataset(context: Context, path: str, node: Node) -> None:
    if is_target(node.value):
        if "dataset" not in node.value:
            message = "`split` cuts the `dataset` of this loader, which has none by that name"
            context.problem(message, path, "Write `dataset: ...` in its definition.")
    elif isinstance(node.value, (list, dict)):
        context.problem("`split` cuts the dataset of one loader; here are several", path)
    else:
        message = "`split` cuts the `dataset` in the definition of a loader; this is none"
        context.problem(message, path, "Write it as `{_target_: torch.utils.data.DataLoader, dataset: ...}`.")
