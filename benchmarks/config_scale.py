"""How the work on a config grows with it: reading, merging and checking 10 to 20,000 values.

    python benchmarks/config_scale.py

The config: a base file with all values, in definitions of objects and in groups of variables that refer to each other;
a file over it that changes a tenth of them; ten overrides. Then the config of examples/digits. Prints tables and
writes them into benchmarks/RESULTS.md.
"""

from __future__ import annotations

import argparse
import gc
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from time import process_time

import yaml
from results import report
from startup import ENVIRONMENT

from lighter.config import read

try:
    from omegaconf import OmegaConf
except ImportError:
    OmegaConf = None

SIZES = (10, 100, 1_000, 10_000, 20_000)
GROUP = 10  # values of a definition, or of a group of variables
OVERRIDES = 10
PEER_UP_TO = 10_000
DIGITS = Path(__file__).parents[1] / "examples" / "digits" / "config.yaml"
COLUMNS = ("values", "ms", "µs per value", "PyYAML, µs per value", "OmegaConf, µs per value")
FRESH = """
import sys, time
start = time.process_time()
from lighter.config import read
imported = time.process_time()
read([sys.argv[1]])
print(imported - start, time.process_time() - imported)
"""
BEFORE = """`python benchmarks/config_scale.py`: a base file with so many values, half of them arguments of objects,
half variables, a fifth of all referring to others; a file over it that changes a tenth of them; ten overrides. Read,
merged and checked, to the point where targets would be imported. Beside it, the C parser of PyYAML on the same two
files, which gives plain dicts: no places of values, nothing merged, nothing checked; and OmegaConf, which is under
Hydra: load, merge, dotlist and resolve, with interpolations for references and nothing checked."""
AFTER = """How to read it: where the work grows as the config does, µs per value stay the same. Processor time, the
median of {rounds} rounds, all sizes in turn; OmegaConf once, up to {largest:,}. The config of examples/digits, in a
process that has just started: {read:.0f} ms, of at most 50, and {imports:.0f} ms to import what reads it.
PyYAML {yaml}{omegaconf}."""


def config(values: int) -> dict:
    """A config with so many values, give or take a group."""
    groups = max(1, values // (2 * GROUP))
    layers = [layer(number) for number in range(groups)]
    network = {"_target_": "torch.nn.Sequential", "_args_": layers}
    return {
        "vars": {f"group{number}": variables(number) for number in range(groups)},
        "model": {"_target_": "lighter.LighterModule", "network": network},
        "trainer": {"max_epochs": 1},
    }


def layer(number: int) -> dict:
    given = {
        "in_features": f"@vars::group{number}::width",
        "out_features": f"@vars::group{number}::width",
        "bias": True,
    }
    return {"_target_": "torch.nn.Linear", **given, **{f"extra{index}": index / 7 for index in range(GROUP - 4)}}


def variables(number: int) -> dict:
    return {
        "width": 64 + number,
        "depth": f"@vars::group{number // 2}::width",
        "rate": f"$0.1 * @vars::group{number}::width",
        "name": f"group {number}",
        "sizes": [1, 2, 3, number],
        "on": True,
        "scale": 1e-3 * number,
    }


def change(values: int) -> dict:
    """What the second file changes: one variable of each group."""
    return {"vars": {f"group{number}": {"scale": -1.0, "on": False} for number in range(max(1, values // (2 * GROUP)))}}


def count(value: object) -> int:
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 1 if children is None else sum(map(count, children))


def seconds(work: Callable[[], object]) -> float:
    gc.collect()
    start = process_time()
    work()
    return process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7, help="how often each size is read (default: 7)")
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        cases = [Case(Path(folder), size) for size in SIZES]
        done = [[(seconds(of.ours), seconds(of.yaml)) for of in cases] for _ in range(rounds + 1)][1:]
        rows = [row(of, [times[index] for times in done]) for index, of in enumerate(cases)]
    imports, reads = (
        median(column) * 1e3 for column in zip(*(in_a_fresh_process() for _ in range(rounds)), strict=True)
    )
    peer = f", OmegaConf {version('omegaconf')}" if OmegaConf is not None else "; OmegaConf is not installed here"
    after = AFTER.format(
        rounds=rounds, largest=PEER_UP_TO, read=reads, imports=imports, yaml=version("PyYAML"), omegaconf=peer
    )
    report("Configs that grow", COLUMNS, rows, before=BEFORE, after=after)


def in_a_fresh_process() -> tuple[float, float]:
    """Seconds to import what reads a config, and to read that of the example."""
    command = [sys.executable, "-c", FRESH, DIGITS]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=ENVIRONMENT)
    imports, reads = map(float, done.stdout.split())
    return imports, reads


class Case:
    """A config of a size, in files."""

    def __init__(self, folder: Path, size: int) -> None:
        base = config(size)
        self.files = [folder / f"base{size}.yaml", folder / f"over{size}.yaml"]
        for file, content in zip(self.files, (base, change(size)), strict=True):
            file.write_text(yaml.safe_dump(content, sort_keys=False))
        groups = len(base["vars"])
        self.overrides = [f"vars::group{number % groups}::width={number}" for number in range(OVERRIDES)]
        self.values = count(base)

    def ours(self) -> object:
        return read([*map(str, self.files), *self.overrides])

    def yaml(self) -> object:
        return [yaml.load(file.read_text(), yaml.CSafeLoader) for file in self.files]

    def omegaconf(self) -> object:
        base, over = (OmegaConf.create(_interpolated(yaml.load(f.read_text(), yaml.CSafeLoader))) for f in self.files)
        dotlist = [override.replace("::", ".") for override in self.overrides]
        return OmegaConf.to_container(OmegaConf.merge(base, over, OmegaConf.from_dotlist(dotlist)), resolve=True)


def _interpolated(value: object) -> object:
    """References as OmegaConf writes them; expressions, which it does not have, as text."""
    if isinstance(value, dict):
        return {key: _interpolated(child) for key, child in value.items()}
    if isinstance(value, list):
        return [_interpolated(child) for child in value]
    if isinstance(value, str):
        path = value.partition("@")[2].replace("::", ".")
        return f"${{{path}}}" if path else value
    return value


def row(of: Case, times: list[tuple[float, float]]) -> tuple[str, ...]:
    ours, theirs = (median(column) for column in zip(*times, strict=True))
    with_peer = OmegaConf is not None and of.values < PEER_UP_TO * 1.1
    peer = f"{seconds(of.omegaconf) / of.values * 1e6:.0f}" if with_peer else "-"
    per_value = f"{ours / of.values * 1e6:.0f}", f"{theirs / of.values * 1e6:.0f}", peer
    return f"{of.values:,}", f"{ours * 1e3:.1f}", *per_value


if __name__ == "__main__":
    main()
