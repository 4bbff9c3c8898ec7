"""The settings of a report, and their mistakes: the section `report` of a config has these keys."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lighter.config.problems import indefinite, nearest
from lighter.errors import ModuleTypeError, ModuleValueError

CLASSIFICATION, REGRESSION, SEGMENTATION = TASKS = ("classification", "regression", "segmentation")
KEYS = ("task", "classes", "samples", "pred", "target", "input", "multilabel", "logits")
MAX_CLASSES = 1000
EXAMPLE = "report: {task: classification, classes: [cat, dog]}"

Mistake = tuple[str, str, str]  # the key, a message and a hint
Name = str | int | None


@dataclass(frozen=True)
class ReportSettings:
    """Settings of a recorded evaluation.

    Attributes:
        task: one of `TASKS`.
        classes: the names of the classes, or how many there are; None to take the number from the predictions.
        samples: the size of each sheet of samples; 0 for none.
        pred: where the predictions are: a key of what the step returns, or of the batch, or an index in the batch.
            None looks for the usual names; `target` and `input` likewise.
        multilabel: whether a sample may have several classes; None decides by the shape of the targets.
        logits: whether predictions are logits and not probabilities; None decides by their values.
    """

    task: str
    classes: Sequence[str] | int | None = None
    samples: int = 16
    pred: Name = None
    target: Name = None
    input: Name = None
    multilabel: bool | None = None
    logits: bool | None = None

    def __post_init__(self) -> None:
        refuse(mistakes(vars(self)))

    @property
    def count(self) -> int | None:
        """The number of classes, if it is said."""
        return self.classes if isinstance(self.classes, int) or self.classes is None else len(self.classes)

    def names(self, count: int) -> list[str]:
        """Return the names of so many classes."""
        given = self.classes if isinstance(self.classes, Sequence) else ()
        return [str(given[number]) if number < len(given) else str(number) for number in range(count)]


def refuse(found: Iterable[Mistake]) -> None:
    """Raise the first of some mistakes as an error of a callback's arguments."""
    for key, message, hint in found:
        kind = ModuleValueError if key == "task" else ModuleTypeError
        text = message if not key or message.startswith(f"`{key}`") else f"`{key}`: {message}"
        raise kind(f"{text}. {hint}" if hint else text, key or "task")


def mistakes(values: Mapping[str, Any], is_known: Callable[[object], bool] = lambda value: True) -> Iterator[Mistake]:
    """Yield what is wrong with the values of a report's settings; of those that are not known yet, nothing."""
    if values.get("task") is None:
        yield "", f"a report names its `task`, one of {', '.join(TASKS)}", f"For example: {EXAMPLE}"
    for key, value in values.items():
        if key not in KEYS:
            yield key, "this key of `report` is unknown", nearest(key, KEYS)
        elif value is not None and is_known(value):
            yield from mistakes_in(key, value)
    if values.get("task") == REGRESSION:
        for key in ("classes", "multilabel", "logits"):
            if values.get(key) is not None:
                yield key, f"`{key}` says nothing to a regression", "Leave it out."


def mistakes_in(key: str, value: object) -> Iterator[Mistake]:
    """Yield what is wrong with the value of one setting."""
    if key == "task" and value not in TASKS:
        yield key, f"this task is unknown: {indefinite(value)}", nearest(value, TASKS)
    elif key == "classes":
        yield from _mistakes_in_classes(value)
    elif key == "samples" and not (type(value) is int and value >= 0):
        yield key, f"`samples` is a whole number from 0 on; found {indefinite(value)}", ""
    elif key in ("pred", "target", "input") and not (type(value) is int or isinstance(value, str)):
        example = "the key of what the step returns or of the batch, or an index in the batch"
        yield key, f"`{key}` is {example}; found {indefinite(value)}", ""
    elif key in ("multilabel", "logits") and type(value) is not bool:
        yield key, f"`{key}` is true or false; found {indefinite(value)}", ""


def _mistakes_in_classes(value: object) -> Iterator[Mistake]:
    hint = "classes: [cat, dog], or how many: classes: 2"
    if isinstance(value, (list, tuple)):
        names = [str(item) for item in value]
        if not names or len(set(names)) < len(names) or any(isinstance(item, (dict, list)) for item in value):
            yield "classes", "`classes` names each class once, in the order of their numbers", hint
        count = len(names)
    elif type(value) is int and value >= 1:
        count = value
    else:
        yield "classes", f"`classes` is a list of names, or a number of classes; found {indefinite(value)}", hint
        return
    if count > MAX_CLASSES:
        yield "classes", f"a report is of at most {MAX_CLASSES:,} classes; found {count:,}", ""
