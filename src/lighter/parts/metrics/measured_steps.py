"""Wrap the steps of a module's class, so that whatever calls them, Lightning's loops or ours, they are measured."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from pytorch_lightning import LightningModule

from lighter.parts.hooks import ExistsIf, is_marked
from lighter.parts.metrics.measuring import Measuring

STEPS = {"training_step": "train", "validation_step": "val", "test_step": "test"}


def measured(step: object, mode: str, name: str) -> Callable[..., Any]:
    """Wrap a user's step: measured where Lightning calls it, and plain where another step of the class calls it."""
    plain = step if inspect.isfunction(step) else _as_function(step, name)

    @functools.wraps(plain)
    def measured_step(self: Any, *args: Any, **kwargs: Any) -> Any:
        measure: Measuring = vars(self)["_measure"]
        # a step of a base class by `super()`, or another step of the class: its losses are part of this one's
        if measure.in_step:
            return plain(self, *args, **kwargs)
        measure.in_step = True
        try:
            return measure.step(mode, plain, args, kwargs)
        finally:
            measure.in_step = False

    lightnings = getattr(LightningModule, name)  # which counts as not written
    written = inspect.unwrap(plain, stop=lambda function: vars(function)["__wrapped__"] is lightnings)
    written.__signature__ = inspect.signature(written)  # Lightning asks at every step
    measured_step.__name__ = name
    measured_step.__wrapped__ = written  # Lightning looks one level deep
    measured_step.unmeasured = step  # type: ignore[attr-defined]
    measured_step.is_measured = measured_step  # type: ignore[attr-defined]
    return measured_step


def measure_steps(kind: type) -> None:
    """Have the steps of a class measured, those too that came to it by `setattr` or from a mixin."""
    for name, mode in STEPS.items():
        step = inspect.getattr_static(kind, name)
        is_lightnings = step is inspect.getattr_static(LightningModule, name)
        if is_lightnings or isinstance(step, ExistsIf) or is_marked(step, "is_missing"):
            continue
        # a step under another name (`validation_step = training_step`) is measured in its own mode
        is_measured = is_marked(step, "is_measured")
        if not (is_measured and step.__name__ == name):
            setattr(kind, name, measured(step.unmeasured if is_measured else step, mode, name))


def _as_function(step: Any, name: str) -> Callable[..., Any]:
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        # a `partialmethod`, say, which is no function and takes the module only when it is bound
        return step.__get__(self, type(self))(*args, **kwargs)

    call.__name__ = name
    return call
