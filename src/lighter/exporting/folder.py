"""The folder of an export: written aside and renamed, so that it is there whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lighter.callbacks.writers.disk import sync
from lighter.config.problems import Problem
from lighter.errors import ConfigError, StorageError
from lighter.exporting.card import card_of
from lighter.exporting.formats import FORMATS
from lighter.exporting.record import json_text, sha256_of
from lighter.files.atomic import sync_folder
from lighter.files.folders import publish, remove_whole, replaced
from lighter.files.partials import partial_of, sweep

FACTS, CARD, LOADER = "export.json", "MODEL_CARD.md", "load.py"
_OURS = {FACTS, CARD, LOADER, "model.pt2", "model.onnx", "model.onnx.data", "__pycache__"}
_TEMPLATES = Path(__file__).parent


@dataclass(frozen=True)
class Written:
    """An export that is there; `facts` are those of its `export.json`."""

    path: Path
    facts: Mapping[str, Any]

    @classmethod
    def of(cls, folder: Path, target: Path, facts: dict[str, Any]) -> Written:
        """Write what is beside the artifact."""
        models = sorted(path for path in folder.iterdir() if path.name.startswith("model."))
        facts["files"] = {path.name: {"sha256": sha256_of(path), "bytes": path.stat().st_size} for path in models}
        (folder / FACTS).write_text(json_text(facts) + "\n", encoding="utf-8")
        (folder / CARD).write_text(card_of(facts), encoding="utf-8")
        shutil.copyfile(_TEMPLATES / f"load_{facts['kind']}.py", folder / LOADER)
        return cls(target, facts)


def refuse_taken(target: Path, *, force: bool) -> None:
    """Raise a `ConfigError` if something is there that may not be replaced."""
    aside = replaced(target)
    if os.path.lexists(aside) and not _is_export(aside):
        raise _taken(aside, "An export that is replaced has this name for a moment; name another with --output.")
    if not os.path.lexists(target):
        return
    if not target.is_dir() or target.is_symlink():
        raise _taken(target, "It is no folder; name one with --output.")
    names = sorted(path.name for path in target.iterdir())
    others = [name for name in names if name not in _OURS]
    if others:
        raise _taken(target, f"It holds other files ({', '.join(others[:3])}); name another folder with --output.")
    if names and not _is_export(target):
        raise _taken(target, f"It is no export, as its {FACTS} is not one's; name another folder with --output.")
    if not force and names:
        raise _taken(target, "Name another folder with --output, or add --force.")


def _is_export(folder: Path) -> bool:
    try:
        facts = json.loads((folder / FACTS).read_bytes())
    except (OSError, ValueError):  # not there, or not ours
        return False
    return isinstance(facts, dict) and isinstance(facts.get("format"), int) and facts.get("kind") in FORMATS


@contextmanager
def published(target: Path, *, force: bool) -> Iterator[Path]:
    """Give a folder to write into, which becomes `target` at the end, unless there is an error.

    Raises:
        StorageError: it cannot be made or renamed.
    """
    aside = partial_of(target)
    missing = [folder for folder in target.parents if not os.path.lexists(folder)]
    try:
        with _stored(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            aside.mkdir()
        yield aside
        with _stored(target):
            for path in aside.iterdir():
                sync(path)
            sync_folder(aside)
            _rename(aside, target, force=force)
            sync_folder(target.parent)
            sweep(target.parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        for folder in missing:
            with suppress(OSError):  # it holds the export
                folder.rmdir()


def _rename(aside: Path, target: Path, *, force: bool) -> None:
    refuse_taken(target, force=force)
    if os.path.lexists(target) and any(target.iterdir()):
        publish(aside, target)
        return
    os.rename(aside, target)  # fails if another process has filled it meanwhile
    remove_whole(replaced(target))  # of an export that was killed


@contextmanager
def _stored(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        error.filename = str(target)  # not the file aside
        raise StorageError(f"{target} cannot be written: {error.strerror or error}", error.errno) from error


def _taken(target: Path, hint: str) -> ConfigError:
    return ConfigError([Problem(f"{target} is there already", hint=hint)])
