"""Whole messages: what a config says, and what its user reads. The cases are in messages.txt; its top says how."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from lighter.config import read
from lighter.errors import ConfigError


@dataclass(frozen=True)
class Case:
    name: str
    inputs: list[str]
    get: str
    text: str
    message: str

    @classmethod
    def parse(cls, written: str) -> Case:
        head, message = written.split("\n---\n")
        name, command, *text = head.split("\n")
        inputs, _, get = command.removeprefix("$").partition(" -> ")
        return cls(name, shlex.split(inputs), get.strip(), "".join(f"{line}\n" for line in text), message.rstrip("\n"))


_FILE = (Path(__file__).parent / "messages.txt").read_text(encoding="utf-8")
CASES = [Case.parse(written) for written in re.split(r"^=== ", _FILE, flags=re.MULTILINE)[1:]]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_whole_message(case: Case, write: Callable[..., str]) -> None:
    write("config.yaml", case.text)
    with pytest.raises(ConfigError) as caught:
        read(case.inputs).objects().get(case.get)
    assert str(caught.value) == case.message
    assert all(len(str(problem).splitlines()) <= 15 for problem in caught.value.problems)


def test_there_are_cases_and_each_has_a_name_of_its_own() -> None:
    assert len(CASES) >= 45
    assert len({case.name for case in CASES}) == len(CASES)
