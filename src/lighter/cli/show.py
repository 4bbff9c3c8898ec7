"""`lighter show`: the merged config as it will run. Nothing of it is imported or run."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from lighter.config import Config, load_merged
from lighter.config.dump import dump
from lighter.config.pure import resolved
from lighter.config.tree import Node, Origin, Source
from lighter.engine.project import project_folder
from lighter.errors import ConfigError


def run_show(inputs: Sequence[str], *, origins: bool, resolve: bool) -> int:
    """Print it; returns the exit code."""
    try:
        merged = load_merged(inputs)
        folder = project_folder(Config(merged, merged), Path.cwd())
    except ConfigError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    if folder is not None:
        written = merged.child("project")
        merged.value["project"] = Node(str(folder), written.origin if written else Origin(Source("__lighter__.py")))
    print(dump(resolved(merged) if resolve else merged, origins=origins), end="")
    return 0
