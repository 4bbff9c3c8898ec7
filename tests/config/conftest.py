from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lighter.config import read
from lighter.config.objects import Objects

MODEL = "model: {_target_: builtins.dict}\n"


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    """Write a file into the working directory, and return its name."""

    def write(name: str, text: str | bytes) -> str:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return name

    return write


@pytest.fixture
def objects(write: Callable[..., str]) -> Callable[..., Objects]:
    """The objects of a config that has a model, and what is given."""

    def objects(text: str, *inputs: Any) -> Objects:
        return read([write("c.yaml", MODEL + text), *inputs]).objects()

    return objects
