"""Lightning's own tests with `lighter.Trainer` in the place of its Trainer, and what comes out differently.

    git clone --branch 2.6.6 --depth 1 https://github.com/Lightning-AI/pytorch-lightning
    python -m tests.trainer.lightning_suite pytorch-lightning trainer/flags loops callbacks

The tests are neither in Lightning's packages nor in this repository. The folders and files that are named, below
`tests/tests_pytorch`, run twice: with Lightning's class, and with ours, with Lightning's defaults and random streams.
What fails with both is the machine's, or that of a version that does not fit. Exit code 1 if anything differs.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

TESTS = "tests_pytorch"
TRAINER, REPORT = "LIGHTNING_SUITE_TRAINER", "LIGHTNING_SUITE_REPORT"
ROOT = Path(__file__).parents[2]
# a checkout tests the package that has it all; what is installed with Lighter is the part with the Trainer
IMPORTS = {r"\blightning\.pytorch\b": "pytorch_lightning", r"\blightning\.fabric\b": "lightning_fabric"}

Outcomes = dict[str, str]


def copy_of(checkout: Path, folder: Path) -> Path:
    """The tests of a checkout, importing `pytorch_lightning`."""
    found = sorted((checkout / "tests" / TESTS).rglob("*.py"))
    if not found:
        raise SystemExit(f"{checkout} is no checkout of Lightning: it has no tests/{TESTS}")
    for file in found:
        text = file.read_text()
        for theirs, installed in IMPORTS.items():
            text = re.sub(theirs, installed, text)
        copy = folder / file.relative_to(checkout / "tests")
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(text)
    return folder / TESTS


def outcomes(tests: Path, names: list[str], trainer: str, words: list[str]) -> Outcomes:
    """What came of each test: `passed`, `skipped`, or the first line of how it failed."""
    report = tests.parent / f"{trainer}.json"
    path = os.pathsep.join([str(ROOT), str(tests.parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, TRAINER: trainer, REPORT: str(report)}
    plugins = ["-p", "tests.trainer.lightning_suite_plugin", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", "-q", *plugins, "--rootdir", str(tests), "-c", os.devnull, *words]
    subprocess.run([*command, *(str(tests / name) for name in names)], env=environment, cwd=tests.parent, check=False)
    if not report.exists():
        raise SystemExit("pytest ended before it had run anything; see above")
    found: Outcomes = json.loads(report.read_text())
    return found


def compare(theirs: Outcomes, ours: Outcomes) -> list[str]:
    """A line for each test that ends differently."""
    names = sorted(theirs.keys() | ours.keys())
    ends = [(name, theirs.get(name, "did not run"), ours.get(name, "did not run")) for name in names]
    return [f"{name}\n    Lightning's: {one}\n    ours:        {other}" for name, one, other in ends if one != other]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("checkout", type=Path, help="a checkout of Lightning's repository, of the version installed")
    parser.add_argument("names", nargs="*", default=["."], help=f"folders and files below tests/{TESTS}")
    parser.add_argument("-k", dest="only", default="", help="only tests that match, as pytest's -k")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tests = copy_of(options.checkout, Path(folder))
        words = ["-k", options.only] if options.only else []
        theirs, ours = (outcomes(tests, options.names, trainer, words) for trainer in ("theirs", "ours"))
    different = compare(theirs, ours)
    passed = sum(end == "passed" for end in ours.values())
    print(*different, sep="\n")
    print(
        f"{len(ours)} tests: {passed} pass with lighter.Trainer, {len(different)} end differently than with Lightning's"
    )
    raise SystemExit(1 if different or not passed else 0)


if __name__ == "__main__":
    main()
