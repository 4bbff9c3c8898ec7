from __future__ import annotations

from typing import Any

import pytest

from lighter.config import yaml
from lighter.config.merge import merge
from lighter.config.problems import Problem
from lighter.config.tree import Node, Origin, Source


def merged(*texts: str) -> tuple[Any, list[Problem]]:
    problems: list[Problem] = []
    root = Node({}, Origin(Source("")))
    for text in texts:
        tree = yaml.parse(Source("x", text), problems)
        assert tree is not None
        root = merge(root, tree, problems)
    return root.plain(), problems


@pytest.mark.parametrize(
    ("base", "over", "result"),
    [
        ("a: 1", "b: 2", {"a": 1, "b": 2}),
        ("a: {x: 1, y: {z: 2}}", "a: {y: {w: 3}}", {"a": {"x": 1, "y": {"z": 2, "w": 3}}}),
        ("a: [1]", "a: [2, 3]", {"a": [1, 2, 3]}),
        ("a: [1]", "a: 5", {"a": 5}),
        ("a: 5", "a: [1]", {"a": [1]}),
        ("a: {x: 1}", "a: null", {"a": None}),
        ("a: null", "a: {x: 1}", {"a": {"x": 1}}),
        ("a: {x: 1}", "a: [1]", {"a": [1]}),
        ("a: {x: 1}", "=a: {y: 2}", {"a": {"y": 2}}),
        ("a: [1, 2]", "=a: [3]", {"a": [3]}),
        ("a: {b: {x: 1}}", "a: {=b: {y: 2}}", {"a": {"b": {"y": 2}}}),
        ("a: 1\nb: 2", "~a:", {"b": 2}),
        ("a: 1\nb: 2", "~a: ''", {"b": 2}),
        ("a: [1, 2, 3, 4]", "~a: [0, 2]", {"a": [2, 4]}),
        ("a: [1, 2, 3, 4]", "~a: [-1, 0, 0]", {"a": [2, 3]}),
        ("a: {x: 1, y: 2, 3: z}", "~a: [x, 3]", {"a": {"y": 2}}),
        ("a: {b: {x: 1, y: 2}}", "a: {~b: [x]}", {"a": {"b": {"y": 2}}}),
        ("a: {b: {x: 1, y: 2}}", "a: {b: {~x: }}", {"a": {"b": {"y": 2}}}),
        ("a: {b: [{x: 1}, {x: 2}]}", "a::b::1::x: 5", {"a": {"b": [{"x": 1}, {"x": 5}]}}),
        ("a: {b: [{x: 1}, {x: 2}]}", "a::b::-1: {y: 3}", {"a": {"b": [{"x": 1}, {"x": 2, "y": 3}]}}),
        ("a: {b: [{x: 1}, {x: 2}]}", "=a::b::0: {y: 3}", {"a": {"b": [{"y": 3}, {"x": 2}]}}),
        ("a: {b: [{x: 1}, {x: 2}]}", "~a::b::0:", {"a": {"b": [{"x": 2}]}}),
        ("a: {b: [{x: 1}, {x: 2}]}", "~a::b: [0]", {"a": {"b": [{"x": 2}]}}),
        ("a: {b: 1}", "a: {c::d::e: 2}", {"a": {"b": 1, "c": {"d": {"e": 2}}}}),
        ("a: {b: null}", "a::b::c: 2", {"a": {"b": {"c": 2}}}),
        ("a: {b: [1]}", "a::b: [2]", {"a": {"b": [1, 2]}}),
        ("m: {2: a, true: b, 2.5: c}", "m: {'2': d, 'True': e}", {"m": {2: "d", True: "e", 2.5: "c"}}),
        ("m: {1: a}", "m::1: b\nm::2: c", {"m": {1: "b", 2: "c"}}),
        ("a: x", "a: {=b: 1, ~c: }", None),
    ],
)
def test_merge(base: str, over: str, result: Any) -> None:
    found, problems = merged(base, over)
    if result is None:
        assert problems
        return
    assert not problems, str(problems[0])
    assert found == result
    assert repr(found) == repr(result)


def test_operators_of_the_first_file_are_worked_out() -> None:
    assert merged("a: {b: [{c::d: 1}]}") == ({"a": {"b": [{"c": {"d": 1}}]}}, [])


@pytest.mark.parametrize(
    ("base", "over", "message", "path"),
    [
        ("a: {b: 1}", "~c:", "there is nothing here to delete", "c"),
        ("a: {b: 1}", "a: {~c: }", "there is nothing here to delete", "a::c"),
        ("a: {b: 1}", "=c: 2", "there is nothing here to replace", "c"),
        ("a: {b: 1}", "a: {=c: 2}", "there is nothing here to replace", "a::c"),
        ("a: {b: 1}", "=a::c: 2", "there is nothing here to replace", "a::c"),
        ("a: {b: 1}", "=d::c: 2", "there is nothing here to replace", "d::c"),
        ("", "=a: 1", "there is nothing here to replace", "a"),
        ("a: [1]", "a: [{=b: 2}]", "there is nothing here to replace", "a::0::b"),
        ("a: {b: 1}", "~a: 5", "`~` takes nothing, or a list of what to delete; found 5", "a"),
        ("a: {b: 1}", "~a: []", "`~` takes nothing, or a list of what to delete; found an empty list", "a"),
        ("a: {b: 1}", "~a: [c]", "`c` is not there to be deleted", "a"),
        ("a: [1]", "~a: [1]", "`1` is not there to be deleted", "a"),
        ("a: [1]", "~a: [x]", "`x` is not there to be deleted", "a"),
        ("a: 5", "~a: [x]", "`x` is not there to be deleted", "a"),
        ("a: [1]", "a::3: 2", "there is no item 3: the list has 1 item", "a"),
        ("a: [1]", "a::-2: 2", "there is no item -2: the list has 1 item", "a"),
        ("a: [1]", "a::x: 2", "this is a list: its items are named by index, not `x`", "a"),
        ("a: 5", "a::x: 2", "`x` cannot be found inside 5", "a"),
        ("a: '@b'", "a::x: 2", "`x` cannot be found inside '@b'", "a"),
        ("a: 1", "b::0: 2", "there is no list here that could have an item 0", "b"),
        ("a: 1", "b::c::0::d: 2", "there is no list here that could have an item 0", "b::c"),
        ("a: 1", "b::::c: 2", "a path has a name or an index between its `::`", "b::"),
        ("a: 1", "'::b': 2", "a path has a name or an index between its `::`", ""),
        ("a: 1", "'=': 2", "`=` is followed by one key or path; found `=`", ""),
        ("a: 1", "=~b: 2", "`=` is followed by one key or path; found `=~b`", ""),
        ("a: [1]", "a::²: 2", "this is a list: its items are named by index, not `²`", "a"),
        ("a: [1]", "a::99999999999999999999999: 2", "this is a list: its items are named by index, not `9", "a"),
    ],
)
def test_problems(base: str, over: str, message: str, path: str) -> None:
    _, problems = merged(base, over)
    assert len(problems) == 1
    assert problems[0].message.startswith(message)
    assert problems[0].path == path
    assert problems[0].origin is not None
