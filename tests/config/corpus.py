"""Bad inputs and the whole messages that they get, in text files: messages.txt and those in bad/.

Each file is a list of cases:

    === the name of the case
    $ the inputs, as on a command line -> an object to make, or `check STAGE`
    the text of config.yaml; after a line `+++ NAME`, that of another file
    ---
    the whole message

In messages.txt reading finds the mistake, or making the object named after `->`. In bad/ the check does, before
anything is made: all of the config, or what the stage needs. good.yaml and system.yaml lie beside each config.
"""

from __future__ import annotations

import re
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

from lighter.cli.check import tiers
from lighter.config.problems import ERROR, Problem, in_order

HERE = Path(__file__).parent


def found_in(inputs: list[str], stage: str | None, *, shape: bool = False) -> list[Problem]:
    return in_order([problem for of_tier in tiers(inputs, stage, shape=shape) for problem in of_tier])


@dataclass(frozen=True)
class Case:
    name: str
    inputs: list[str]
    then: str
    files: dict[str, str]
    message: str

    @classmethod
    def parse(cls, written: str) -> Case:
        head, message = written.split("\n---\n")
        name, command, *text = head.split("\n")
        inputs, _, then = command.removeprefix("$").partition(" -> ")
        files, current = {"config.yaml": ""}, "config.yaml"
        for line in text:
            if line.startswith("+++ "):
                current = line[4:]
                files[current] = ""
            else:
                files[current] += f"{line}\n"
        return cls(name, shlex.split(inputs), then.strip(), files, message.rstrip("\n"))

    def write(self, folder: Path) -> None:
        """Its files, into a folder."""
        for name, text in self.files.items():
            (folder / name).write_text(text, encoding="utf-8")


def cases(path: Path) -> list[Case]:
    """The cases of a file."""
    return [Case.parse(written) for written in re.split(r"^=== ", path.read_text(encoding="utf-8"), flags=re.M)[1:]]


def message_of(case: Case, folder: Path) -> str:
    """What the check says of a case in a folder, which is the working directory."""
    for name in ("good.yaml", "system.yaml"):
        shutil.copy(HERE / "bad" / name, folder)
    case.write(folder)
    problems = found_in(case.inputs, case.then.removeprefix("check ") or None)
    assert all(len(str(problem).splitlines()) <= 15 for problem in problems)
    assert "warning" in case.name or any(problem.severity == ERROR for problem in problems)
    return "\n\n".join(map(str, problems)).replace(str(folder), "FOLDER").replace(str(HERE), "HERE")
