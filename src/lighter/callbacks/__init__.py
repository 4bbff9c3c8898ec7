"""Callbacks that ship. The names are resolved when they are first used, as those of `lighter` are."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lighter import lightning_alias

if TYPE_CHECKING:
    from lighter.callbacks.evaluation.pictures import Pictures as Pictures
    from lighter.callbacks.evaluation.report import EvaluationReport as EvaluationReport
    from lighter.callbacks.freezer import Freezer as Freezer
    from lighter.callbacks.writers.base import BaseWriter as BaseWriter
    from lighter.callbacks.writers.files import FileWriter as FileWriter
    from lighter.callbacks.writers.functions import writer_registry as writer_registry
    from lighter.callbacks.writers.parquet import ParquetWriter as ParquetWriter
    from lighter.callbacks.writers.table import CsvWriter as CsvWriter
    from lighter.callbacks.writers.table import TableWriter as TableWriter

_HOME = {
    "BaseWriter": "lighter.callbacks.writers.base",
    "CsvWriter": "lighter.callbacks.writers.table",
    "EvaluationReport": "lighter.callbacks.evaluation.report",
    "FileWriter": "lighter.callbacks.writers.files",
    "Freezer": "lighter.callbacks.freezer",
    "ParquetWriter": "lighter.callbacks.writers.parquet",
    "Pictures": "lighter.callbacks.evaluation.pictures",
    "TableWriter": "lighter.callbacks.writers.table",
    "writer_registry": "lighter.callbacks.writers.functions",
}

__all__ = [
    "BaseWriter",
    "CsvWriter",
    "EvaluationReport",
    "FileWriter",
    "Freezer",
    "ParquetWriter",
    "Pictures",
    "TableWriter",
    "writer_registry",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'lighter.callbacks' has no attribute {name!r}; it has {', '.join(sorted(_HOME))}")
    lightning_alias.install()
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
