"""All examples are exported in both formats, and one is loaded where only the packages of its format are."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import lighter
from lighter.exporting.export import export_network
from lighter.exporting.folder import Written
from lighter.exporting.prepare import Options
from tests.test_examples import CONFIGS, run_first

SHORT = ("trainer::max_epochs=1", "trainer::limit_train_batches=4")
EXPORTED = [config for config in CONFIGS if config.parent.name != "report"]  # whose network is that of digits_system
PACKAGES = {"pt2": ["torch", "numpy"], "onnx": ["onnxruntime", "numpy"]}
BARE = """
import runpy, sys
sys.path.append({packages!r})
runpy.run_path("load.py", run_name="__main__")
print(*sorted({{"lighter", "pytorch_lightning", "lightning", "torchmetrics"}} & {{*sys.modules}}))
"""


def only(names: list[str], folder: Path) -> Path:
    """Make a folder of packages with these and what they need, and no others."""
    folder.mkdir()
    wanted = {canonicalize_name(name) for name in names}
    done: set[str] = set()
    while wanted - done:
        name = (wanted - done).pop()
        done.add(name)
        with suppress(metadata.PackageNotFoundError):
            package = metadata.distribution(name)
            needed = [Requirement(text) for text in package.requires or ()]
            wanted |= {canonicalize_name(each.name) for each in needed if not each.marker or each.marker.evaluate()}
            for top in {file.parts[0] for file in package.files or ()} - {"..", "__pycache__"}:
                (folder / top).symlink_to(Path(str(package.locate_file(top))).resolve())
    return folder


def run_bare(folder: Path, kind: str, elsewhere: Path) -> str:
    """Copy an export elsewhere and run its `load.py` with nothing but the packages of its format."""
    copied = shutil.copytree(folder, elsewhere / folder.name)
    packages = only(PACKAGES[kind], elsewhere / f"packages-{kind}")
    assert not (packages / "lighter").exists()
    assert (packages / "torch").exists() == (kind == "pt2")
    command = [sys.executable, "-I", "-S", "-c", BARE.format(packages=str(packages))]
    done = subprocess.run(command, cwd=copied, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def check_metrics(written: Written) -> None:
    facts = json.loads((written.path / "export.json").read_text(encoding="utf-8"))
    assert facts["verification"]["metrics"]
    for each in facts["verification"]["metrics"].values():
        assert each["difference"] <= 1e-4
        assert abs(each["artifact"] - each["recorded"]) <= 1e-4 * max(1, abs(each["recorded"]))


@pytest.mark.long
@pytest.mark.parametrize("config", EXPORTED, ids=lambda config: config.parent.name)
def test_an_example_is_exported(config: Path, own_place: Path) -> None:
    run_first(config, own_place, *SHORT)
    fitted = lighter.Runner().execute("fit", [str(config), *SHORT, f"run::dir={own_place}"])
    for kind in PACKAGES:
        written = export_network(fitted.folder, kind, Options(checkpoint="last"))
        check_metrics(written)
        if config.parent.name == "multitask":  # a dict of two outputs
            *printed, imported = run_bare(written.path, kind, own_place).splitlines()
            assert imported == ""
            assert "digit" in printed[0]
