"""What an agent may name: files in the root folder, overrides without paths that lead out of it, and no options."""

from __future__ import annotations

from pathlib import Path

import pytest

from lighter.agents.bounds import inputs, inside
from lighter.agents.commands import command
from lighter.errors import RunError

ALLOWED = (
    ["c.yaml"],
    ["sub/c.yaml", "model::lr=0.1", "~trainer::logger", "=a::b={c: 1}"],
    ["c.yaml", "vars::text=a/b"],
    ["c.yaml", "model::network=@vars::net"],
)
REFUSED = {
    "absolute": ["/etc/passwd"],
    "above": ["../c.yaml"],
    "url": ["https://example.com/c.yaml"],
    "option": ["--safe"],
    "value": ["c.yaml", "run::dir=/tmp/x"],
    "value above": ["c.yaml", "data::path=../../x"],
    "value in a dict": ["c.yaml", "=data={path: [/etc/passwd]}"],
    "home in a value": ["c.yaml", "data::path=~/x"],
    "no override": ["c.yaml", "=a"],
    "a copy from above": ["c.yaml", "model=%../x.yaml::model"],
    "a copy from elsewhere": ["c.yaml", "model=%/etc/x.yaml"],
    "zero byte": ["a\0b.yaml"],
}


@pytest.mark.parametrize("words", ALLOWED)
def test_allowed(words, tmp_path):
    assert inputs(words, tmp_path) == words


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case, tmp_path):
    with pytest.raises(RunError):
        inputs(REFUSED[case], tmp_path)


def test_a_path_in_the_root_is_allowed_however_it_is_written(tmp_path):
    assert inputs(["c.yaml", f"run::dir={tmp_path}/x"], tmp_path)
    assert inside("a/../b", tmp_path) == "a/../b"


@pytest.mark.parametrize(
    "word", ["a=../p2", "base,../p2/x", "ours=a+/etc", "a,b,~/x", "~nosuchuser/x", "a\0b", "x" * 5000 + "/../../.."]
)
def test_words_for_several_runs_are_looked_at_one_by_one(word, tmp_path):
    with pytest.raises(RunError):
        inside(word, tmp_path)


@pytest.mark.parametrize("word", ["ours=a+b", "a,b", "outputs/2026-11-29/*", "EXP/trial-3", "last"])
def test_words_for_runs_are_allowed(word, tmp_path):
    assert inside(word, tmp_path) == word


@pytest.mark.parametrize("word", ["a\0b", "\ud800", "x" * 10**6])
def test_a_word_that_no_command_can_have_is_refused(word):
    with pytest.raises(RunError, match="cannot be a word of a command"):
        command("show", word)


def test_a_link_that_leads_out_is_refused(tmp_path):
    (tmp_path / "link").symlink_to(Path("/"))
    with pytest.raises(RunError, match="outside"):
        inside("link/etc", tmp_path)
