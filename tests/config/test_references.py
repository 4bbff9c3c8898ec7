from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lighter.config.objects import Objects
from lighter.config.references import _split_copies
from lighter.errors import ConfigError

Make = Callable[..., Objects]


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("{x: 1, a: '@vars::x'}", "a", 1),
        ("{x: 1, a: '@::x'}", "a", 1),
        ("{x: 1, a: {b: '@::::x', x: 2}}", "a::b", 1),
        ("{x: 1, a: {b: '%::::x', x: 2}}", "a::b", 1),
        ("{x: 1, a: {b: '%::x', x: 2}}", "a::b", 2),
        ("{x: [1, {y: 2}], a: '@vars::x::1::y'}", "a", 2),
        ("{x: 1, a: '$@vars::x + @::x + 1'}", "a", 3),
        ("{x: 1, a: '$ @vars::x'}", "a", 1),
        ("{x: {1: z}, a: '@vars::x::1'}", "a", "z"),
        ("{x: '%::y', y: '%::z', z: 3, a: '@::x'}", "a", 3),
        ("{x: {y: {z: 3}}, c: '%::x', a: '%vars::c::y::z'}", "a", 3),
        ("{x: {n: '@::m', m: 3}, a: '%vars::x'}", "a", {"n": 3, "m": 3}),
        ("{m: 1, x: {n: '@::::m'}, y: {m: 2, a: '%vars::x'}}", "y::a", {"n": 2}),
        ("{x: [1], a: '$[%vars::x, %::x]'}", "a", [[1], [1]]),
        ("{x: 5, a: '$7 % 4'}", "a", 3),
        ("{x: 5, a: '$7 %vars'}", "a", None),
        ("{x: 5, a: '$@vars::x %4'}", "a", 1),
        ("{x: 5, a: '$(7)%4'}", "a", 3),
        ("{x: 5, a: '$[7][0]%4'}", "a", 3),
        ("{x: 5, a: '$\"%d\" % 4'}", "a", "4"),
        ("{x: 5, a: '$\"%vars::x\"'}", "a", "%vars::x"),
        ("{x: 5, a: '$%vars::x % 2'}", "a", 1),
        ("{x: 5, a: '$1 if %vars::x else %vars::x'}", "a", 1),
        ("{x: 2, a: '$[i * @vars::x for i in range(3)]'}", "a", [0, 2, 4]),
        ("{x: 2, a: '$(lambda y: y + @vars::x)(1)'}", "a", 3),
        ("{important: 2, a: '$@vars::important + 1'}", "a", 3),
        ("{x: 2, a: '$from math import sqrt as root', b: '$root(4)'}", "b", 2.0),
        ("{x: 2, a: '$import math', b: '$math.sqrt(4)'}", "b", 2.0),
    ],
)
def test_values(objects: Make, text: str, path: str, value: Any) -> None:
    made = objects(f"vars: {text}\n")
    if value is None:
        with pytest.raises(ConfigError):
            made.get(f"vars::{path}")
    else:
        assert made.get(f"vars::{path}") == value


def test_a_reference_is_the_same_object_and_a_copy_is_a_new_one(objects: Make) -> None:
    thing = "{_target_: tests.config.targets.Thing, size: '@::n', n: 3}"
    made = objects(f"vars: {{t: {thing}, a: '@::t', b: '%::t', c: '%::t', d: '$[@vars::t, %vars::t, %vars::t]'}}\n")
    found = made.get("vars")
    assert found["a"] is found["t"] is found["d"][0]
    assert len({id(item) for item in (found["t"], found["b"], found["c"], *found["d"])}) == 5
    assert found["d"][2].size == found["b"].size == 3


def test_an_override_changes_what_is_copied(objects: Make) -> None:
    assert objects("vars: {x: {y: 1}, a: '%vars::x'}\n", "vars::x::y=2").get("vars::a") == {"y": 2}


def test_copies_keep_the_place_where_they_were_written(objects: Make) -> None:
    made = objects("vars:\n  x: {y: 1}\n  a: '%vars::x'\n")
    assert str(made.tree.find("vars::a::y").origin) == "c.yaml:3:10"  # type: ignore[union-attr]
    assert str(made.tree.find("vars::a").key_origin) == "c.yaml:4:3"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{lr: 1, a: '@vars::lrr'}", "vars::a: `@vars::lrr` refers to nothing"),
        ("{lr: 1, a: '%vars::lrr'}", "vars::a: `%vars::lrr` refers to nothing"),
        ("{lr: 1, a: '$1 + %vars::lrr'}", "vars::a: `$1 + %vars::lrr` refers to nothing"),
        ("{lr: 1, a: '$1 + @vars::lrr'}", "vars::a: `@vars::lrr` refers to nothing"),
        ("{a: '@::::::x'}", "vars::a: this relative reference goes up beyond the top of the config"),
        ("{a: '%::::::x'}", "vars::a: this relative reference goes up beyond the top of the config"),
        ("{a: '@vars::my-lr', my-lr: 1}", "vars::a: `@vars::my-lr` is no reference"),
        ("{a: '@', b: 1}", "vars::a: `@` is no reference"),
        ("{a: '@vars::b @vars::b', b: 1}", "vars::a: `@vars::b @vars::b` is no reference"),
        ("{a: '%vars::a'}", "vars::a: copies refer to each other in a circle: vars::a -> vars::a"),
        ("{a: {b: '%vars::a'}}", "vars::a::b: copies refer to each other in a circle: vars::a -> vars::a"),
        ("{x: '@vars::y', y: {z: 1}, a: '@vars::x::z'}", "vars::a: `@vars::x::z` refers to nothing"),
        ("{a: '$1 +'}", "vars::a: this expression is not Python: invalid syntax"),
        ("{a: '$'}", "vars::a: this expression is not Python: invalid syntax"),
        ("{a: '$x = 1'}", "vars::a: this expression is not Python: invalid syntax"),
        ("{a: '$" + "(" * 5000 + "'}", "vars::a: this expression is not Python: too many nested parentheses"),
        ("{a: '$" + "-" * 100_000 + "1'}", "vars::a: this expression is not Python: "),
    ],
)
def test_problems(objects: Make, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        objects(f"vars: {text}\n")
    (problem,) = caught.value.problems
    assert str(problem).startswith("c.yaml:2:")
    assert message in str(problem).splitlines()[0]


@pytest.mark.parametrize(
    "text",
    [
        "{a0: [x,x,x,x,x,x,x,x,x,x], "
        + ", ".join(f"a{i + 1}: [{', '.join([repr(f'%vars::a{i}')] * 10)}]" for i in range(12))
        + "}",
        "{" + "".join(f"a{i}: '%vars::a{i + 1}', " for i in range(3000)) + "a3000: 1}",
        "{" + "".join(f"a{i}: {{x: '%vars::a{i + 1}'}}, " for i in range(500)) + "a500: 1}",
    ],
    ids=["bomb", "chain", "depth"],
)
def test_copies_are_bounded(objects: Make, text: str) -> None:
    with pytest.raises(ConfigError, match="with its copies, this config"):
        objects(f"vars: {text}\n")


def test_which_percent_signs_are_copies() -> None:
    expression = "a % b + %c::d * [%e, f%g, 'x'%h, (1) %i, {}%j, not %k, None %l, %::m, \"%n\", 1_0%o, x in %p]"
    assert [text for text, is_copy in _split_copies(expression) if is_copy] == ["%c::d", "%e", "%k", "%::m", "%p"]
    assert "".join(text for text, _ in _split_copies(expression)) == expression
