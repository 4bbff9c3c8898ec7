"""Whole messages: what a config says, and what its user reads. The cases are text files; corpus.py says how."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lighter.config import read
from lighter.errors import ConfigError
from tests.slow import one_in

from . import corpus
from .corpus import Case

READ = corpus.cases(corpus.HERE / "messages.txt")
BAD = [case for path in sorted((corpus.HERE / "bad").glob("*.txt")) for case in corpus.cases(path)]


@pytest.mark.parametrize("case", READ, ids=lambda case: case.name)
def test_what_reading_says(case: Case, own_place: Path) -> None:
    case.write(own_place)
    with pytest.raises(ConfigError) as caught:
        read(case.inputs).objects().get(case.then)
    assert str(caught.value) == case.message
    assert all(len(str(problem).splitlines()) <= 15 for problem in caught.value.problems)


@pytest.mark.parametrize("case", one_in(3, BAD), ids=lambda case: case.name)
def test_what_the_check_says(case: Case, own_place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(own_place))
    monkeypatch.delitem(sys.modules, "not_python", raising=False)
    assert corpus.message_of(case, own_place) == case.message


def test_there_are_cases_and_each_has_a_name_of_its_own() -> None:
    assert len(READ) + len(BAD) >= 250
    for cases in (READ, BAD):
        assert len({(case.name, tuple(case.files.values())) for case in cases}) == len(cases)


def test_what_the_bad_inputs_begin_with_is_good(own_place: Path) -> None:
    for name in ("good.yaml", "system.yaml"):
        (own_place / name).write_text((corpus.HERE / "bad" / name).read_text())
        assert corpus.found_in([name], None) == []
