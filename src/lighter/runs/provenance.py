"""The origin of a run: the command, its inputs, the packages and the machine. Nothing of torch is imported."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from lighter import __version__
from lighter.config import Config, yaml
from lighter.config.load import Input, is_override
from lighter.processes.notebook import is_notebook, notebook_name

DECIDING = ("torch", "pytorch-lightning", "lightning", "torchmetrics", "lighter", "numpy")
"""The packages whose versions change results."""


def command() -> list[str]:
    """Return the words that started this process; of a notebook, whose kernel the user did not start, its name."""
    if is_notebook():
        return [notebook_name()]
    program = Path(sys.argv[0]).name if sys.argv else ""
    return ["python", "-m", "lighter", *sys.argv[1:]] if program == "__main__.py" else [program, *sys.argv[1:]]


def overrides(inputs: Sequence[Input]) -> list[str]:
    return [item for item in inputs if isinstance(item, str) and is_override(item)]


def files(inputs: Sequence[Input], config: Config) -> list[dict[str, str]]:
    """Return path and hash of each source of the config: the inputs, and all files that a value comes from."""
    # the inputs too: all values of a file may be overwritten
    named = [str(item) for item in inputs if not isinstance(item, Mapping) and str(item) not in overrides(inputs)]
    sources = {node.origin.source.name for _, node in config.merged.walk() if node.origin.source.is_file}
    used = map(Path, dict.fromkeys([*named, *sorted(sources)]))
    entries = [{"path": str(path.absolute()), "sha256": _digest_of_file(path)} for path in used]
    dicts = [item for item in inputs if isinstance(item, Mapping)]
    return [*entries, *({"path": "Python", "sha256": _digest(yaml.dump(item).encode())} for item in dicts)]


def origins(config: Config) -> dict[str, str]:
    """Return the origin of each value of the merged config, by its path."""
    leaves = ((path, node) for path, node in config.merged.walk() if not (isinstance(node.value, (dict, list))))
    return {path: str(node.origin) for path, node in leaves}


@cache  # it takes a tenth of a second, and forked processes have the same
def software() -> dict[str, Any]:
    """Return the versions of Python, Lighter, and all that is installed."""
    found = [distribution.metadata for distribution in metadata.distributions()]  # each access parses the file again
    packages = {facts["Name"]: facts["Version"] for facts in found if facts["Name"]}
    return {
        "python": platform.python_version(),
        "lighter": __version__,
        "packages": dict(sorted(packages.items(), key=lambda item: item[0].lower())),
    }


def versions(names: Iterable[str]) -> dict[str, str]:
    """Return the versions of some packages, if installed."""
    # to ask for all, as `software` does, takes a third of a second
    installed = {}
    for name in names:
        with suppress(metadata.PackageNotFoundError):
            installed[name] = metadata.version(name)
    return installed


def code() -> dict[str, str]:
    """Return the modules that are imported from the user's own folders, by name, each with the hash of its file."""
    folders = [str(Path.cwd()), *filter(None, [os.environ.get("LIGHTER_PROJECT")])]
    # with a separator at the end, so that `/home/project2` is not in `/home/project`
    own = tuple(os.path.join(os.path.realpath(folder), "") for folder in folders)
    installed = tuple(os.path.join(folder, "") for folder in (sys.prefix, Path(__file__).parents[1]))
    files = {name: getattr(module, "__file__", None) for name, module in sys.modules.items()}
    return {
        name: _digest_of_file(Path(file))
        for name, file in sorted(files.items())
        if isinstance(file, str) and file.startswith(own) and not file.startswith(installed)
        if f"{os.sep}site-packages{os.sep}" not in file  # of a virtual environment in the project, say
    }


@cache
def hardware() -> dict[str, Any]:
    """Describe the machine, as far as the system says without any library."""
    # asking CUDA would start it
    facts: dict[str, Any] = {"system": platform.platform(), "machine": platform.machine(), "cpus": os.cpu_count()}
    with suppress(OSError, ValueError, AttributeError):
        facts["memory_gb"] = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    model = _first_match(Path("/proc/cpuinfo"), r"^model name\s*:\s*(.+)$")
    if model:
        facts["cpu"] = model
    cards = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    facts["gpus"] = [_first_match(card, r"^Model:\s*(.+)$") or "unknown" for card in cards]
    driver = _first_match(Path("/proc/driver/nvidia/version"), r"Kernel Module.*?\s(\d+\.\d+[\d.]*)\s")
    if driver:
        facts["driver"] = driver
    return facts


def _first_match(path: Path, pattern: str) -> str | None:
    with suppress(OSError):
        match = re.search(pattern, path.read_text(errors="replace"), re.MULTILINE)
        return match[1].strip() if match else None
    return None


def _digest_of_file(path: Path) -> str:
    with suppress(OSError):
        return _digest(path.read_bytes())
    return ""


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
