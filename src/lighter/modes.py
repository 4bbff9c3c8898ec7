"""The modes of a step, by name; no torch."""

from __future__ import annotations

from enum import Enum


class Mode(str, Enum):
    """A mode, which equals its string and is printed as that."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"
    PREDICT = "predict"

    __str__ = str.__str__
    __format__ = str.__format__  # type: ignore[assignment]
