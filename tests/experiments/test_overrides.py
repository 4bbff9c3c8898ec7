"""The values of a trial as overrides: what is read back is what was written, bit for bit."""

from __future__ import annotations

import math
from typing import Any

import pytest

from lighter.config.load import load
from lighter.config.tree import Node, Origin, Source
from lighter.experiments.overrides import as_yaml, overrides

BASE = {"a": {"number": 1, "tree": {"x": 1, "y": [1, 2]}, "list": [1, 2], "none": None, "items": [{"p": 1}]}}
VALUES = [
    *(0, -3, 10**30, 0.1, 1e-05, 1e16, 1e300, 5e-324, -0.0, 3.0, 0.1 + 0.2, math.inf, -math.inf, True, False, None),
    *("adam", "1", "1e-3", "0x10", "1_000", "true", "Null", "~", "", " ", "on", "yes", "2024-01-01", "12:30", ".inf"),
    *("@a::number", "%a::tree", "$@a::number * 2", "@", "%", "$", "*x", "&x", "!x", "- x", "x: y", "x #y", "{", "[1]"),
    *(
        "a=b",
        "=x",
        "~x",
        "it's",
        'say "x"',
        "back\\slash",
        "two\nlines",
        "tab\t",
        "ünï",
        "\u2028",
        "\x85",
        "\x7f",
        "😀",
    ),
    *("https://x.y/z", "trailing ", "#", "a,b", "null,", "?", "|", ">", "---", "<<", "\xa0", "\ufeff"),
    *(
        [],
        {},
        [1, [2, {"x": None}]],
        {"x": {"y": [1.5, "@a", True]}, 1: "int", 1.5: "float", "x1": "text", "on": "yes"},
    ),
    *({"_target_": "my.Net", "layers": [{"x": "%a::tree"}]}, [math.inf, "x, y"], {"x: y": 1, "": 2}),
]


PATHS = ["a::number", "a::tree", "a::list", "a::none", "a::new", "a::items::0::p", "a::tree::y::1"]


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
def test_overrides_set_exactly_the_values(value: Any) -> None:
    for path in PATHS:
        words = overrides({path: value}, load([BASE]))
        assert len(words) == 1
        assert "\n" not in words[0]
        node = load([BASE, *words]).find(path)
        assert node is not None
        # `repr` tells 1, 1.0 and True apart, and the signs of zeros.
        assert repr(node.plain()) == repr(value)


def test_overrides_are_readable() -> None:
    merged = Node({"lr": Node(1, Origin(Source("x"))), "net": Node({}, Origin(Source("x")))}, Origin(Source("x")))
    values = {"lr": 1e-05, "act": "relu", "net": {"_target_": "my.Net", "sizes": [1, 2], "text": "@vars::x"}}
    assert overrides(values, merged) == [
        "lr=1e-05",
        "act=relu",
        '=net={_target_: my.Net, sizes: [1, 2], text: "@vars::x"}',
    ]
    assert as_yaml((1, None)) == "[1, null]"
