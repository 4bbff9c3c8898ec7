"""Lightning's own tests with `lighter.Trainer` in the place of its Trainer, and what comes out differently.

    git clone --branch 2.6.5 --depth 1 https://github.com/Lightning-AI/pytorch-lightning
    python -m tests.trainer.lightning_suite pytorch-lightning                             # all that can run here
    python -m tests.trainer.lightning_suite pytorch-lightning trainer/flags loops --exact_resume

The tests are neither in Lightning's packages nor in this repository. All of them, or the folders and files that are
named, below `tests/tests_pytorch`, run twice: with Lightning's class, and with ours, with Lightning's defaults. What
fails with both is the machine's, or that of a version that does not fit, and no difference.

`lightning_differences.yaml` has the known differences, with a reason each. Exit code 1 if there is another one, or
if a known one is none any more.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import yaml

TESTS = "tests_pytorch"
TRAINER, REPORT, EXACT = "LIGHTNING_SUITE_TRAINER", "LIGHTNING_SUITE_REPORT", "LIGHTNING_SUITE_EXACT_RESUME"
ROOT = Path(__file__).parents[2]
KNOWN = Path(__file__).with_name("lightning_differences.yaml")
# a checkout tests the package that has it all; what is installed with Lighter is the part with the Trainer
IMPORTS = {r"\blightning\.pytorch\b": "pytorch_lightning", r"\blightning\.fabric\b": "lightning_fabric"}
FILES_OF_A_PROCESS = 12  # a process starts in some seconds, and what its tests leave behind meets only so many others
LONGEST = 900  # seconds of a process: a test that hangs in it counts as one that did not end
RAN = {0, 1, 5}  # pytest's exit codes: all passed, some failed, no tests

Outcomes = dict[str, str]


@dataclass(frozen=True)
class Suite:
    """A copy of Lightning's tests, and where the outcomes of a class are noted."""

    tests: Path
    trainer: str
    exact_resume: bool = False
    arguments: Sequence[str] = ()

    def outcomes(self, names: Sequence[str], jobs: int) -> Outcomes:
        """How each test of the named folders and files ended: `passed`, `skipped`, or how it failed."""
        files = sorted({str(file.relative_to(self.tests)) for name in names for file in _files(self.tests / name)})
        count = -(-len(files) // FILES_OF_A_PROCESS)
        pieces = [files[start::count] for start in range(count)]
        with ThreadPoolExecutor(jobs) as pool:
            ends = pool.map(self.piece, map(str, range(count)), pieces)
            return {test: end for piece in ends for test, end in piece.items()}

    def piece(self, name: str, tests: Sequence[str]) -> Outcomes:
        """The outcomes of some files or tests, in a copy of their own: tests look for what others leave beside them."""
        place = self.tests.parent / f"{self.trainer}-{name}"
        shutil.copytree(self.tests, place / TESTS)
        report = place.with_suffix(".jsonl")
        count, ended = -1, False
        while not ended and count < (count := len(_read(report))):  # one that ended its process, or hung, is left out
            ended = self._run(place, tests, report) in RAN
        return _read(report)

    def _run(self, place: Path, tests: Sequence[str], report: Path) -> int | None:
        path = os.pathsep.join([str(ROOT), str(place), os.environ.get("PYTHONPATH", "")])
        exact = str(int(self.exact_resume))
        environment = {**os.environ, "PYTHONPATH": path, TRAINER: self.trainer, REPORT: str(report), EXACT: exact}
        plugins = ["-p", "tests.trainer.lightning_suite_plugin", "-p", "no:cacheprovider"]
        quiet = ["-q", "--disable-warnings", "--tb=line", "--continue-on-collection-errors"]
        where = ["--rootdir", str(place / TESTS), "-c", os.devnull]
        command = [
            sys.executable,
            "-m",
            "pytest",
            *quiet,
            *plugins,
            *where,
            *self.arguments,
            *(f"{place / TESTS}/{test}" for test in tests),
        ]
        with report.with_suffix(".log").open("a") as log:
            process = subprocess.Popen(
                command,
                env=environment,
                cwd=place,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
            try:
                return process.wait(LONGEST)
            except subprocess.TimeoutExpired:
                return None
            finally:
                with suppress(ProcessLookupError):  # what tests started, too
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _files(place: Path) -> Iterator[Path]:
    return place.rglob("test_*.py") if place.is_dir() else iter([place])


def _read(report: Path) -> Outcomes:
    """The last that was noted of each test."""
    lines = report.read_text().splitlines() if report.exists() else []
    return dict(json.loads(line) for line in lines)


def copy_of(checkout: Path, folder: Path) -> Path:
    """The tests of a checkout, importing `pytorch_lightning`."""
    tests = checkout / "tests" / TESTS
    if not list(tests.rglob("test_*.py")):
        raise SystemExit(f"{checkout} is no checkout of Lightning: it has no tests/{TESTS}")
    shutil.copytree(tests, folder / TESTS)
    for file in (folder / TESTS).rglob("*.py"):
        text = file.read_text()
        for theirs, installed in IMPORTS.items():
            text = re.sub(theirs, installed, text)
        file.write_text(text)
    return folder / TESTS


def known_differences(file: Path, *, exact_resume: bool) -> dict[str, str]:
    """The tests that are known to end differently, and why; those of random streams only where ours are used."""
    groups = yaml.safe_load(file.read_text())
    kinds = ["always", *(["exact_resume"] if exact_resume else [])]
    return {test: reason for kind in kinds for reason, tests in (groups[kind] or {}).items() for test in tests}


def differences(theirs: Outcomes, ours: Outcomes) -> dict[str, str]:
    """How tests end with ours that do not fail with Lightning's, where that is another way."""
    ends = {name: ours.get(name, "did not run") for name, end in theirs.items() if end in ("passed", "skipped")}
    return {name: end for name, end in ends.items() if end != theirs[name]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("checkout", type=Path, help="a checkout of Lightning's repository, of the version installed")
    parser.add_argument("names", nargs="*", default=["."], help=f"folders and files below tests/{TESTS}; all if none")
    parser.add_argument("-k", dest="only", default="", help="only tests that match, as pytest's -k")
    parser.add_argument("--exact_resume", action="store_true", help="with our random streams, which are the default")
    parser.add_argument("--jobs", type=int, default=2, help="processes at once")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tests = copy_of(options.checkout, Path(folder))
        words = ["-k", options.only] if options.only else []
        lightnings, lighters = Suite(tests, "theirs", False, words), Suite(tests, "ours", options.exact_resume, words)
        theirs, ours = (suite.outcomes(options.names, options.jobs) for suite in (lightnings, lighters))
        known = known_differences(KNOWN, exact_resume=options.exact_resume)
        new = [test for test in differences(theirs, ours) if test not in known]
        if new:  # once more, by themselves: some depend on how busy the machine is
            theirs |= lightnings.piece("again", new)
            ours |= lighters.piece("again", new)
    raise SystemExit(report(theirs, ours, known))


def report(theirs: Outcomes, ours: Outcomes, known: Mapping[str, str]) -> int:
    """Print what is new and what is no difference any more; return the exit code."""
    different = differences(theirs, ours)
    new = {name: end for name, end in different.items() if name not in known}
    gone = [name for name in known if theirs.get(name) == "passed" and name not in different]
    for name, end in new.items():
        print(f"new: {name}\n    Lightning's: {theirs[name]}\n    ours:        {end}")
    for name in gone:
        print(f"no difference any more: {name}")
    passed = sum(end == "passed" for end in ours.values())
    print(
        f"{len(ours)} tests: {passed} pass with lighter.Trainer; {len(different)} end differently than with "
        f"Lightning's, {len(new)} of them not known; {len(gone)} known ones are no difference any more"
    )
    return 1 if new or gone or not passed else 0


if __name__ == "__main__":
    main()
