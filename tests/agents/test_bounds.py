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
    ["c.yaml", "a=torch.optim.Adam", "b=1/3", "c=$1/3", "d={monitor: val/loss/epoch, val/loss: [a/../b]}"],
    ["c.yaml", "model=%parts/net.yaml::a", "model::x=%::b", "a=$'/'.join(@vars::parts)", f"a={'x' * 5000}"],
)
REFUSED = {
    "absolute": ["/etc/passwd"],
    "above": ["../c.yaml"],
    "url": ["https://example.com/c.yaml"],
    "option": ["--safe"],
    "option with a value": ["c.yaml", "--output=x"],
    "value": ["c.yaml", "run::dir=/tmp/x"],
    "value above": ["c.yaml", "data::path=../../x"],
    "value in a dict": ["c.yaml", "=data={path: [/etc/passwd]}"],
    "home in a value": ["c.yaml", "data::path=~/x"],
    "no override": ["c.yaml", "=a"],
    "a copy from above": ["c.yaml", "model=%../x.yaml::model"],
    "a copy from elsewhere": ["c.yaml", "model=%/etc/x.yaml"],
    "zero byte": ["a\0b.yaml"],
    "url in a value": ["c.yaml", "args::fit::ckpt_path=https://example.com/a.ckpt"],
    "url of a bucket": ["c.yaml", "args::fit::ckpt_path=S3://bucket/a.ckpt"],
    "url of a file": ["c.yaml", "data=[{path: file:/etc/passwd}]"],
    "url as a base": ["c.yaml", "_base_=http://example.com/c.yaml"],
    "url as a key": ["c.yaml", "data={'https://example.com/x': 1}"],
    "url to copy from": ["c.yaml", "data=%https://example.com/c.yaml::data"],
    "key": ["c.yaml", "data={/etc/passwd: 1}"],
    "step": ["c.yaml", "data::../x=1"],
    "literal of an expression": ["c.yaml", "data=$open('/etc/passwd').read()"],
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


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """A root with links that lead out of it, and one that does not."""
    root, other = tmp_path / "root", tmp_path / "other"
    (root / "inner").mkdir(parents=True)
    other.mkdir()
    (other / "c.yaml").write_text("trainer: {max_epochs: 3}\n")
    (other / "run").mkdir()
    (other / "run/run.json").write_text("{}")
    (root / "link").symlink_to(other)
    (root / "c.yaml").symlink_to(other / "c.yaml")
    (root / "data").symlink_to(other)
    (root / "near").symlink_to(root / "inner")
    return root


@pytest.mark.parametrize("word", ["link/etc", "c.yaml", "l*k/*", "ours=a+l*k/run", "ours=inner+link/x"])
def test_a_link_that_leads_out_is_refused(word, linked):
    with pytest.raises(RunError, match="outside"):
        inside(word, linked)


@pytest.mark.parametrize(
    "word",
    [
        "trainer=%link/c.yaml::trainer",
        "trainer=%c.yaml::trainer",
        "trainer=%c.yaml",
        "trainer=%inner/../c.yaml::trainer",
        "trainer={a: ['%link/c.yaml::trainer']}",
        "run::dir=link",
        "run::dir=link/new/folder",
        "run::dir=near/../link",
        "=run={dir: link}",
        "data={link/x: 1}",
        "data={=a::link/x: 1}",
        "data::link/x=1",
        "data=$open('link/c.yaml').read()",
        "data=@link/c.yaml",
    ],
)
def test_a_value_that_leads_out_by_a_link_is_refused(word, linked):
    with pytest.raises(RunError, match="outside"):
        inputs([word], linked)


@pytest.mark.parametrize(
    "word",
    ["run::dir=near/x", "a=%near/c.yaml::b", "data::train=1", "a={data: 1}", "a=@data::b", "a=%data::b", "~data"],
)
def test_links_within_the_root_and_config_paths_with_the_name_of_a_link_are_allowed(word, linked):
    assert inputs([word], linked) == [word]


def test_a_pattern_of_runs_may_fit_other_links(linked):
    assert inside("*a*", linked) == "*a*"
