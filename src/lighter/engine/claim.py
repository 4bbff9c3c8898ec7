"""Claim one new folder for all processes of a run, by its `run` options. `runs/rank_zero.py` tells the others."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from lighter.config import Config
from lighter.config.load import Input, is_url
from lighter.config.problems import Problem
from lighter.errors import ConfigError
from lighter.files import run_folder as paths
from lighter.files.storage import normal
from lighter.runs.rank_zero import told_by_rank_zero


@dataclass(frozen=True)
class RunOptions:
    """The folder of all runs and the name of this one: `run: {dir: outputs, name: digits}`.

    `saved_by` is the run whose `config.yaml` is run; None if it is a file of the user's.
    """

    root: Path
    name: str
    saved_by: paths.RunFolder | None = None

    @classmethod
    def of(cls, config: Config, inputs: Sequence[Input]) -> RunOptions:
        node = config.expanded.child("run")
        options: Mapping[str, Any] = (node.value or {}) if node is not None else {}
        root = Path(os.path.expanduser(normal(options["dir"].value if "dir" in options else paths.OUTPUTS)))
        return cls(root, options["name"].value if "name" in options else _default_name(inputs), _saved_by(inputs))


def _files(inputs: Sequence[Input]) -> list[Path]:
    return [Path(item) for item in inputs if isinstance(item, (str, os.PathLike)) and os.path.isfile(item)]


def _saved_by(inputs: Sequence[Input]) -> paths.RunFolder | None:
    folders = [file.parent for file in _files(inputs) if file.name == paths.CONFIG]
    runs = [folder for folder in folders if paths.is_member(folder) or (folder / paths.RECORD).is_file()]
    return paths.RunFolder(runs[-1]) if runs else None


def _default_name(inputs: Sequence[Input]) -> str:
    files = _files(inputs)
    # A config from a URL has no folder of ours, and so only its own name.
    if not files:
        urls = [PurePosixPath(urlsplit(str(item)).path).stem for item in inputs if is_url(item)]
        return urls[-1] if urls and urls[-1] != "config" else "run"
    # A config.yaml is called as its folder, or as the run that saved it.
    return paths.name_of(files[-1].resolve().parent) if files[-1].stem == "config" else files[-1].stem


def claim_folder(options: RunOptions, config: Config) -> paths.RunFolder:
    """Make a new folder for a run; raise a `ConfigError` if none can be made where the config wants it."""
    try:
        return claim(options.root, options.name)
    except OSError as error:
        node = config.merged.find("run::dir")
        message = f"no run folder can be made under {options.root}: {error.strerror or error}"
        raise ConfigError(
            [Problem(message, node.origin if node else None, "run::dir", "Name another: run::dir=PATH")]
        ) from error


def claim(root: Path, name: str) -> paths.RunFolder:
    """Make a new folder `root/DATE/TIME-NAME`, once for all processes of the run; see `run_folder.claim`."""
    claimed: list[paths.RunFolder] = []

    def decide() -> str:
        claimed.append(paths.claim(root, name))
        return str(claimed[0].path.absolute())

    told = told_by_rank_zero(root, decide)
    if told is None:
        decide()
    return claimed[0] if claimed else paths.RunFolder(Path(told or ""))
