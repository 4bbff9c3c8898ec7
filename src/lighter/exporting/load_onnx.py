"""Load this model with onnxruntime and numpy alone. `python load.py` runs it once, on zeros.

from load import load
model = load()
outputs = model(name=array, ...)      # names, types and shapes are described in export.json
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

FOLDER = Path(__file__).resolve().parent


def load(
    path: Path = FOLDER / "model.onnx", providers: tuple[str, ...] = ("CPUExecutionProvider",)
) -> Callable[..., Any]:
    """Return a function that takes arrays by name and returns a dict of arrays."""
    session = onnxruntime.InferenceSession(str(path), providers=list(providers))
    names = [output.name for output in session.get_outputs()]

    def model(**inputs: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(names, session.run(names, inputs), strict=True))

    return model


def zeros(facts: dict[str, Any], size: int = 2) -> dict[str, np.ndarray]:
    """Return arrays of the right types and shapes, with `size` samples, by name."""
    inputs = {}
    for each in facts["inputs"]:
        rows = size * each.get("rows_per_sample", 1)
        pairs = zip(each["shape"], each["seen"], strict=True)
        shape = [rows if length == "batch" else seen[1] for length, seen in pairs]
        lowest = max(0, int(each.get("limits", [0])[0]))
        inputs[each["name"]] = np.full(shape, lowest, dtype=each["dtype"])
    return inputs


if __name__ == "__main__":
    print(load()(**zeros(json.loads((FOLDER / "export.json").read_text(encoding="utf-8")))))
