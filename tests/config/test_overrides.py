from __future__ import annotations

from typing import Any

import pytest

from lighter.config.load import is_override, load
from lighter.errors import ConfigError

BASE = {"t": {"c": [{"p": 1}, {"p": 2}], "e": 5, "r": "@vars::x"}, "m": {1: "a"}, "l": [1, 2, 3]}


@pytest.mark.parametrize(
    ("words", "path", "value"),
    [
        (["t::e=10"], "t::e", 10),
        (["t::e=1e-3"], "t::e", 1e-3),
        (["t::e=on"], "t::e", "on"),
        (["t::e="], "t::e", None),
        (["t::e=~"], "t::e", None),
        (["t::e=''"], "t::e", ""),
        (["t::e= 7 "], "t::e", 7),
        (["t::e=a=b"], "t::e", "a=b"),
        (["t::e=@vars::x"], "t::e", "@vars::x"),
        (["t::e=%vars::x"], "t::e", "%vars::x"),
        (["t::e=$1 + {2: 3}[2] # no comment"], "t::e", "$1 + {2: 3}[2] # no comment"),
        (["t::e='@x'"], "t::e", "@x"),
        (["t::e={a: [1, {b: 2}]}"], "t::e", {"a": [1, {"b": 2}]}),
        (["t::e=" + "x" * 5000], "t::e", "x" * 5000),
        (["t::c::0::p=10"], "t::c", [{"p": 10}, {"p": 2}]),
        (["t::c::-1::q=3"], "t::c", [{"p": 1}, {"p": 2, "q": 3}]),
        (["t::c::0={q: 3}"], "t::c", [{"p": 1, "q": 3}, {"p": 2}]),
        (["=t::c::0={q: 3}"], "t::c", [{"q": 3}, {"p": 2}]),
        (["t::c=[{p: 3}]"], "t::c", [{"p": 1}, {"p": 2}, {"p": 3}]),
        (["=t::c=[]"], "t::c", []),
        (["~t::c"], "t", {"e": 5, "r": "@vars::x"}),
        (["~t::c::0"], "t::c", [{"p": 2}]),
        (["~t::c::-1", "~t::c::0"], "t::c", []),
        (["~l=[0, 2]"], "l", [2]),
        (["~t=[c, r]"], "t", {"e": 5}),
        (["~m::1"], "m", {}),
        (["m::1=b", "m::2=c"], "m", {1: "b", 2: "c"}),
        (["new::deep::er=1"], "new", {"deep": {"er": 1}}),
        (["t={e: 6}"], "t::e", 6),
        (["=t={e: 6}"], "t", {"e": 6}),
        ([" t::e =3"], "t::e", 3),
        (["t::e=1", "t::e=2"], "t::e", 2),
        (["t::e=line\ntwo"], "t::e", "line two"),
        (["t::e=2024-01-01"], "t::e", "2024-01-01"),
    ],
)
def test_overrides(words: list[str], path: str, value: Any) -> None:
    found = load([BASE, *words]).find(path)
    assert found is not None
    assert found.plain() == value
    assert load([BASE]).plain() == BASE


def test_overrides_apply_after_all_files_in_their_order() -> None:
    assert load(["a=1", {"a": 5, "b": [1]}, "b=[2]", {"b": [3]}]).plain() == {"a": 1, "b": [1, 3, 2]}


def test_what_is_an_override() -> None:
    assert [is_override(word) for word in ("a=1", "~a", "=a=1", "~", "a", "a.yaml", "", "\0=")] == [
        *(True, True, True, True, False, False, False),
        True,
    ]


def test_the_value_of_an_override_knows_its_place() -> None:
    node = load([{"a": 1}, "b::c={d: [1, x]}"]).find("b::c::d::1")
    assert node is not None
    assert (str(node.origin), node.origin.line, node.origin.column) == ("command line", 1, 14)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("t::c::5::p=1", "t::c: there is no item 5: the list has 2 items"),
        ("t::c::-3::p=1", "t::c: there is no item -3: the list has 2 items"),
        ("t::c::p=1", "t::c: this is a list: its items are named by index, not `p`"),
        ("t::e::x=1", "t::e: `x` cannot be found inside 5"),
        ("t::r::x=1", "t::r: `x` cannot be found inside '@vars::x'"),
        ("new::0::x=1", "new: there is no list here that could have an item 0"),
        ("~t::nothing", "t::nothing: there is nothing here to delete"),
        ("~gone::x", "gone: there is nothing here to delete"),
        ("~l=[7]", "l: `7` is not there to be deleted"),
        ("~l=7", "l: `~` takes nothing, or a list of what to delete; found 7"),
        ("~", "an override names what it changes"),
        ("=1", "an override names what it changes"),
        ("=t::e", "t::e: an override that replaces needs a value"),
        ("t::e=[1", "this is not YAML: "),
        ("t::e=a: b: c", "this is not YAML: "),
        ("t::e=[@x]", "this is not YAML: "),
        ("t::e=!!python/name:os.system x", "the tag `!!python/name:os.system` is not supported"),
        ("t::::e=1", "t::: a path has a name or an index between its `::`"),
        ("t::e::=1", "t::e::: a path has a name or an index between its `::`"),
        ("::".join(["a"] * 200) + "=1", "this path has more than 100 steps"),
        ("t::e=\udcff", "this is not text: it holds the character U+DCFF"),
        ("t::e=" + "[" * 10000, "this is nested more than 100 deep"),
    ],
)
def test_problems(word: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load([BASE, word])
    (problem,) = caught.value.problems
    assert str(problem).startswith(("command line: " + message, "command line: " + message.partition(": ")[2]))
    str(problem).encode()
