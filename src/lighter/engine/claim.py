"""Claim one new folder for all processes of a run, by its `run` options.

Processes that Lightning starts inherit the folder's path from the first (`files/run_folder.py`). torchrun starts all of
them alike, and keeps a key-value store for them while they run: there the first process puts the path, and the others
wait for it. The store is of this job alone, so nothing of another can be found in it, and works across machines.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from lighter.config import Config
from lighter.config.load import Input, is_url
from lighter.config.problems import Problem
from lighter.errors import ConfigError
from lighter.files import run_folder as paths
from lighter.files.storage import normal

_PATIENCE = timedelta(minutes=10)
# Processes of one job run the same runs, and so a run has the same number in each.
_runs = itertools.count()


@dataclass(frozen=True)
class RunOptions:
    """The folder of all runs and the name of this one: `run: {dir: outputs, name: digits}`."""

    root: Path
    name: str

    @classmethod
    def of(cls, config: Config, inputs: Sequence[Input]) -> RunOptions:
        node = config.expanded.child("run")
        options: Mapping[str, Any] = (node.value or {}) if node is not None else {}
        root = Path(normal(options["dir"].value if "dir" in options else paths.OUTPUTS)).expanduser()
        return cls(root, options["name"].value if "name" in options else _default_name(inputs))


def _default_name(inputs: Sequence[Input]) -> str:
    files = [Path(item) for item in inputs if isinstance(item, (str, os.PathLike)) and os.path.isfile(item)]
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
    # Only torchrun keeps such a store, and a single process needs none.
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True" or os.environ.get("WORLD_SIZE", "1") == "1":
        return paths.claim(root, name)

    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = TCPStore(address, port, is_master=False, timeout=_PATIENCE)
    # a job that torchrun has started again is another run
    key = f"lighter/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}/{next(_runs)}/folder"
    if paths.is_rank_zero():
        folder = paths.claim(root, name)
        store.set(key, str(folder.path.absolute()))
        return folder
    return paths.RunFolder(Path(store.get(key).decode()))
