"""Refuse overrides of a try that change what makes the metric, or the length of the training.

What trains may change: network, optimizer, scheduler, initial weights, the training loader, a module's own arguments,
and those settings of the trainer that only train. All else is frozen, so that a new key of a config is frozen until
somebody has thought about it. A value that something frozen refers to is frozen with it; limits and callbacks are
compared as they take effect, whatever they refer to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lighter.config import Config
from lighter.config.expression import COPIES, absolute_if_any, referred
from lighter.config.pure import unfolded
from lighter.config.references import followed
from lighter.config.tree import SEPARATOR, Node, join
from lighter.runs.compare import flat

BUDGET = "budget"
_METRICS = ("metrics", "train_metrics", "val_metrics", "test_metrics", "evaluator_cfg")
_OF_MODULE = ("_target_", "_args_", "_mode_", "_disabled_", *_METRICS, "adapters", "inferer", "predict_tasks")
_LOSS = ("criterion", "loss_weights")
_DATA_MODULE = "LighterDataModule"
_LIMITS = ("max_epochs", "max_steps", "max_time", "min_epochs", "min_steps", "limit_train_batches")
_TRAINING = ("accumulate_grad_batches", "gradient_clip_val", "gradient_clip_algorithm", "precision", "benchmark")
_CALLBACKS = (
    *("BackboneFinetuning", "EMAWeightAveraging", "Freezer", "GradientAccumulationScheduler", "LearningRateMonitor"),
    *("StochasticWeightAveraging", "WeightAveraging"),
)
_CALLBACK_PACKAGES = ("pytorch_lightning.callbacks", "lightning.pytorch.callbacks", "lighter.callbacks")
_ALLOWED_CALLBACKS = {f"{package}.{name}" for package in _CALLBACK_PACKAGES for name in _CALLBACKS}
_WHY = {
    "seed": "both sides of a pair are trained with the same seed, which the try chooses",
    "run": "it names where a run is kept",
    "experiment": "the try decides which fits there are",
    "project": "another project may be another evaluation",
    "report": "it is part of the evaluation",
    "data": "it may change the validation data",
    "args": "it says with what a stage begins, and on what it evaluates",
    "launch": "it names where a run is trained",
    "parallel": "both sides are trained on processes that are arranged alike",
}
_EVALUATES = "it takes part in the evaluation"


@dataclass(frozen=True)
class Change:
    """A change that a try refuses: `place` is a path of the config, or a file."""

    place: str
    reason: str
    kind: str = "evaluation"

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}"


def refusals(baseline: Config, candidate: Config, metric: str, allow: Sequence[str] = ()) -> list[Change]:
    """Return the changes of a candidate's config that are not those of training, each once.

    `allow` may hold `budget`, for a candidate that trains longer or shorter.
    """
    frozen = frozen_paths(baseline, metric) | frozen_paths(candidate, metric)
    changes: dict[str, Change] = {}
    for path in changed_paths(baseline, candidate):
        change = _of_path(path, baseline, candidate, frozen)
        if change is not None:
            changes.setdefault(change.place, change)
    compared = (_of_limits, _of_callbacks, _of_training_data)
    for change in (change for each in compared for change in each(baseline, candidate)):
        changes.setdefault(change.place, change)
    return [change for change in changes.values() if change.kind not in allow]


def changed_paths(baseline: Config, candidate: Config) -> list[str]:
    """Return the paths of all values that differ, copies (`%`) worked out; 1, 1.0 and true are different values."""
    one, other = (
        {path: (type(value), value) for path, value in flat(config.expanded.plain()).items()}
        for config in (baseline, candidate)
    )
    return [path for path in {**one, **other} if one.get(path) != other.get(path)]


def frozen_paths(config: Config, metric: str) -> set[str]:
    """Return the paths under which everything is frozen, with those that they refer to."""
    return _reached(config.expanded, _roots(config, metric))


def _reached(root: Node, roots: Iterable[str]) -> set[str]:
    paths = set[str]()
    waiting = [path for path in roots if root.find(path) is not None]
    while waiting:
        path = waiting.pop()
        if path not in paths:
            paths.add(path)
            node = root.find(path)
            waiting += _references(node, path, root) if node is not None else []
    return paths


def _references(node: Node, path: str, root: Node) -> list[str]:
    texts = [(here, each.value) for here, each in node.walk(path) if isinstance(each.value, str)]
    named = [
        target for here, text in texts if text[:1] in ("@", "$") for target in referred(absolute_if_any(here, text))
    ]
    return [target for target in named if root.find(target) is not None]


def _roots(config: Config, metric: str) -> Iterator[str]:
    root, section = config.expanded, config.module_section
    module = followed(root, section)
    yield from (join(module, key) for key in _frozen_of_module(config, metric))
    data = followed(root, "data")
    yield from (join(data, key) for key in _keys(root.find(data)) if not _is_training_loader(root, data, key))
    if section == "system":
        yield from _loaders(config)[1]
    trainer = followed(root, "trainer")
    free = (*_TRAINING, *_LIMITS, "callbacks")
    yield from (join(trainer, key) for key in _keys(root.find(trainer)) if key not in free)
    # `_requires_` runs statements; `__copies__` holds what expressions copy, and is frozen where they are
    yield from (key for key in _keys(root) if key != "data" and not _may_change(key, config))


def _may_change(section: str, config: Config) -> bool:
    """Return whether a section has something that may change."""
    return section in (config.module_section, "trainer", "vars", COPIES)


def _keys(node: Node | None) -> list[str]:
    return [str(key) for key, _ in node.children()] if node is not None and isinstance(node.value, dict) else []


def _frozen_of_module(config: Config, metric: str) -> tuple[str, ...]:
    """Return the arguments that make the metric: the loss too, unless it is surely another value that is compared."""
    names = metric.removesuffix("/epoch").split("/")
    is_other = names[:2] == ["val", "metrics"] and "loss" not in names
    return _OF_MODULE if is_other else (*_OF_MODULE, *_LOSS)


def _is_training_loader(root: Node, data: str, key: str) -> bool:
    node = root.find(data)
    target = node.child("_target_") if node is not None else None
    name = str(target.value) if target is not None else ""
    return key == "train_dataloader" and name.rpartition(".")[2] == _DATA_MODULE


def _loaders(config: Config) -> tuple[list[str], list[str]]:
    """Return the paths of the training loader, and of all others."""
    root = config.expanded
    if config.module_section == "system":
        loaders = followed(root, join(followed(root, "system"), "dataloaders"))
        keys = {key: key == "train" for key in _keys(root.find(loaders))}
    else:
        loaders = followed(root, "data")
        names = [key for key in _keys(root.find(loaders)) if key.endswith("_dataloader")]
        keys = {key: _is_training_loader(root, loaders, key) for key in names}
    training = [join(loaders, key) for key, trains in keys.items() if trains]
    return training, [join(loaders, key) for key, trains in keys.items() if not trains]


def _of_path(path: str, baseline: Config, candidate: Config, frozen: set[str]) -> Change | None:
    """Return why a changed path is refused; None if it is one of training."""
    root = candidate.expanded
    trainer, module, data = (followed(root, name) for name in ("trainer", candidate.module_section, "data"))
    top, _, _ = path.partition(SEPARATOR)
    if path.startswith(f"{trainer}{SEPARATOR}"):
        change = _of_trainer(path, trainer)
        if change is not None or not _is_within(path, frozen):
            return change
    if _is_within(path, frozen) or not (_may_change(top, candidate) or _trains(path, data, root)):
        return Change(path, _WHY.get(top, _EVALUATES))
    if path in (module, trainer):
        return Change(path, _EVALUATES)
    value = root.find(path)
    text = value.value if value is not None else None
    if isinstance(text, str) and text.startswith("$") and "__" in text:
        return Change(path, "an expression with names like `__import__` may do anything")
    return None


def _trains(path: str, data: str, root: Node) -> bool:
    key = path.removeprefix(f"{data}{SEPARATOR}").partition(SEPARATOR)[0]
    return path.startswith(f"{data}{SEPARATOR}") and _is_training_loader(root, data, key)


def _is_within(path: str, paths: Iterable[str]) -> bool:
    return any(f"{path}{SEPARATOR}".startswith(f"{each}{SEPARATOR}") for each in paths)


def _of_trainer(path: str, trainer: str) -> Change | None:
    key = path.removeprefix(f"{trainer}{SEPARATOR}").partition(SEPARATOR)[0]
    if key in (*_TRAINING, *_LIMITS, "callbacks"):
        return None
    return Change(path, "it may change when and on what the metric is computed")


def _of_limits(baseline: Config, candidate: Config) -> Iterator[Change]:
    for key in _LIMITS:
        values = [_of_key(config, key) for config in (baseline, candidate)]
        if repr(values[0]) != repr(values[1]):  # 1 batch is not all batches, 1.0
            reason = "the training is longer or shorter than the baseline's (--allow budget)"
            yield Change(_place(key, baseline, candidate), reason, BUDGET)


def _of_callbacks(baseline: Config, candidate: Config) -> Iterator[Change]:
    before, after = (_listed(_of_key(config, "callbacks")) for config in (baseline, candidate))
    texts = [[repr(each) for each in callbacks] for callbacks in (before, after)]
    differing = [each for each in before if repr(each) not in texts[1]]
    differing += [each for each in after if repr(each) not in texts[0]]
    names = [str(each.get("_target_")) if isinstance(each, Mapping) else str(each) for each in differing]
    refused = [name for name in names if name not in _ALLOWED_CALLBACKS]
    if refused:
        reason = f"a callback can write the metric, or stop at a lucky epoch: {refused[0]}"
        yield Change(_place("callbacks", baseline, candidate), reason)


def _of_training_data(baseline: Config, candidate: Config) -> Iterator[Change]:
    """Refuse to train on what another loader reads, unless the baseline does; records tell more, after a fit."""
    training, others = _loaders(candidate)
    before = _shared(baseline, _loaders(baseline)[0], others)
    for loader in training:
        for path in _shared(candidate, [loader], others):
            if path not in before:
                yield Change(loader, f"it would train on the data of {path}")


def _shared(config: Config, training: Sequence[str], others: Sequence[str]) -> list[str]:
    """Return those of the other loaders of which a dataset is part of a training loader."""
    root = config.expanded
    trained = [value for path in training for value in _nested(unfolded(root, path))]
    return [path for path in others if any(each in trained for each in _datasets(unfolded(root, path)))]


def _datasets(loader: Any) -> Iterator[Any]:
    """Return the datasets of a loader, or of a mapping or list of loaders; of another target, the whole."""
    if isinstance(loader, Mapping) and "_target_" in loader:
        first = loader.get("_args_") or [loader]
        yield loader.get("dataset") or (first[0] if isinstance(first, list) else first)
    elif isinstance(loader, (Mapping, list)):
        for each in loader.values() if isinstance(loader, Mapping) else loader:
            yield from _datasets(each)


def _nested(value: Any) -> Iterator[Any]:
    """Return a value that holds others, and all such within it."""
    if isinstance(value, (Mapping, list)):
        yield value
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _nested(each)


def _of_key(config: Config, key: str) -> Any:
    """Return the value of a key of the trainer as it takes effect."""
    root = config.expanded
    return unfolded(root, join(followed(root, "trainer"), key))


def _place(key: str, baseline: Config, candidate: Config) -> str:
    """Return the path of the trainer's key, or of the value that it refers to if that was changed alone."""
    root = candidate.expanded
    place = join(followed(root, "trainer"), key)
    paths, reached = changed_paths(baseline, candidate), _reached(root, [place])
    if any(_is_within(path, [place]) for path in paths):
        return place
    return next((path for path in paths if _is_within(path, reached)), place)


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]
