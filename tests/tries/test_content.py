"""The content of batches is hashed by value, alike in each process."""

from __future__ import annotations

import subprocess
import sys
import threading
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from lighter.tries.content import Content
from lighter.tries.evaluation import _files
from tests.tries.jobs import SYSTEM
from tests.tries.test_frozen import config


@dataclass
class Sample:
    image: torch.Tensor
    name: str


class Point(NamedTuple):
    x: float


class Plain:
    def __init__(self, value: object) -> None:
        self.value = value


class Image:
    """As those of Pillow: its pixels are no attribute."""

    __slots__ = ("pixels",)

    def __init__(self, pixels: bytes) -> None:
        self.pixels = pixels

    def __getstate__(self) -> list[Any]:
        return ["L", self.pixels]


def objects(number: int) -> dict[str, Any]:
    ring = Plain(number)
    ring.value = [ring, number]
    return {
        "NumPy scalar": np.float32(number),
        "object array": np.array([f"name {number}", None], dtype=object),
        "dataclass": Sample(torch.full((2,), number), "a"),
        "named tuple": Point(number),
        "attributes": Plain({"a": [number]}),
        "state": Image(bytes([number])),
        "set": {f"a{number}", "b", "c", "d"},
        "object that holds itself": ring,
        "Decimal": Decimal(number),
        "path": Path(f"images/{number}.png"),
        "sparse tensor": torch.eye(3).mul(number).to_sparse(),
    }


def digest(value: object) -> str:
    content = Content()
    content.add(value)
    assert not content.unknown
    return content.hexdigest()


@pytest.mark.parametrize("kind", objects(1))
def test_other_values_have_other_hashes(kind):
    assert digest(objects(1)[kind]) == digest(objects(1)[kind])
    assert digest(objects(1)[kind]) != digest(objects(2)[kind])


def test_another_process_has_the_same_hashes():
    code = "from tests.tries.test_content import *; print([digest(each) for each in objects(1).values()])"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str([digest(each) for each in objects(1).values()])


def test_what_cannot_be_hashed_is_named():
    content = Content()
    content.add({"a": [threading.Lock()], "b": 1})
    assert content.unknown == {"_thread.lock"}


@pytest.mark.parametrize("text", ["a" * 300, "~nobody-of-this-name/a", "a\0b", "b/" * 3000])
def test_any_text_of_a_config_may_be_no_file(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "held.txt"
    file.write_text("1")
    assert _files(config({**SYSTEM, "vars": {"classes": 2, "text": text, "file": str(file)}})) == {str(file)}
