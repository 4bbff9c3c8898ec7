"""Describe a checkpoint by its manifest; `lighter.files.manifest` has the format."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from torch import Tensor

from lighter.files.manifest import Manifest

_CONTENT_OF_A_FIT = ("optimizer_states", "loops")


def describe(checkpoint: Any, size: int, folder: Path) -> Manifest:
    """Describe a checkpoint whose archive has this many bytes, in a file in this folder."""
    content = checkpoint if isinstance(checkpoint, Mapping) else {}
    lighters = content.get("lighter")
    config = lighters.get("config") if isinstance(lighters, Mapping) else None
    text = json.dumps(config, sort_keys=True, default=repr)
    return Manifest(
        size=size,
        step=_number(content.get("global_step")),
        epoch=_number(content.get("epoch")),
        config=hashlib.sha256(text.encode()).hexdigest() if config else None,
        versions=dict(versions()),
        saved=datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
        complete=all(name in content for name in _CONTENT_OF_A_FIT),
        best=list(_best(content, folder)),
    )


def _best(content: Mapping[str, Any], folder: Path) -> Iterator[dict[str, object]]:
    # what `lighter runs` shows of a run, without loading the file; relative paths, as the folder may be moved
    states = content.get("callbacks")
    for state in states.values() if isinstance(states, Mapping) else ():
        if not isinstance(state, Mapping) or not isinstance(state.get("monitor"), str):
            continue
        path = state.get("best_model_path")
        score: Any = state.get("best_model_score")
        is_number = isinstance(score, (int, float)) or (isinstance(score, Tensor) and score.numel() == 1)
        if isinstance(path, str) and path and "://" not in path and is_number:
            yield {"monitor": state["monitor"], "score": float(score), "path": os.path.relpath(path, folder.absolute())}


def _number(value: object) -> int | None:
    return value if isinstance(value, int) else None


# reading a package's metadata takes milliseconds, and each save needs that of three
@lru_cache
def versions() -> Mapping[str, str | None]:
    """Return the versions of the packages that a checkpoint depends on; None for one that is not installed."""
    return {name: _version(name) for name in ("lighter", "torch", "pytorch-lightning")}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
