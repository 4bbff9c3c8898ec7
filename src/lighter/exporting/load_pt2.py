"""Load this model with torch alone. `python load.py` runs it once, on zeros.

from load import load
model = load()          # a torch.nn.Module; its inputs and outputs are described in export.json
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

FOLDER = Path(__file__).resolve().parent


def load(path: Path = FOLDER / "model.pt2") -> torch.nn.Module:
    """Return the model. It has no train or eval mode: it always computes what it did in evaluation."""
    return torch.export.load(path).module()


def fill(call: dict[str, Any], inputs: dict[str, torch.Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments that `call` of export.json describes: a tuple, and a dict of keywords."""

    def made(value: Any) -> Any:
        if isinstance(value, list):
            return [made(item) for item in value]
        if not isinstance(value, dict):
            return value
        [(kind, content)] = value.items()
        return makers[kind](content)

    makers: dict[str, Callable[[Any], Any]] = {
        "input": lambda name: inputs[name],
        "tuple": lambda items: tuple(made(items)),
        "dict": lambda pairs: {made(key): made(item) for key, item in pairs},
        "OrderedDict": lambda pairs: OrderedDict((made(key), made(item)) for key, item in pairs),
        "float": float,
    }
    return tuple(made(call["args"])), {name: made(value) for name, value in call["kwargs"].items()}


def zeros(facts: dict[str, Any], size: int = 2) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return arguments of the right types and shapes, with `size` samples: a tuple, and a dict of keywords."""
    inputs = {}
    for each in facts["inputs"]:
        rows = size * each.get("rows_per_sample", 1)
        pairs = zip(each["shape"], each["seen"], strict=True)
        shape = [rows if length == "batch" else seen[1] for length, seen in pairs]
        lowest = max(0, int(each.get("limits", [0])[0]))
        inputs[each["name"]] = torch.full(shape, lowest, dtype=getattr(torch, each["dtype"]))
    return fill(facts["call"], inputs)


if __name__ == "__main__":
    args, kwargs = zeros(json.loads((FOLDER / "export.json").read_text(encoding="utf-8")))
    with torch.no_grad():
        output = load()(*args, **kwargs)
    print(output)
