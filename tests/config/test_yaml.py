from __future__ import annotations

import math
import string
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
import yaml as pyyaml

from lighter.config import yaml
from lighter.config.problems import Problem
from lighter.config.tree import Source
from lighter.errors import ConfigError
from tests.work import calls


def parsed(text: str) -> Any:
    problems: list[Problem] = []
    node = yaml.parse(Source("x.yaml", text, is_file=True), problems)
    assert not problems, str(problems[0])
    assert node is not None
    return node.plain()


def problems_of(text: str) -> list[str]:
    problems: list[Problem] = []
    yaml.parse(Source("x.yaml", text, is_file=True), problems)
    assert problems
    return [
        f"{problem.origin.line}:{problem.origin.column} {problem.message}" for problem in problems if problem.origin
    ]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1E5", 1e5),
        ("-1e+2", -100.0),
        ("1.", 1.0),
        (".5", 0.5),
        ("+.5e1", 5.0),
        ("1_000", 1000),
        ("1_000.5", 1000.5),
        ("0x1F", 31),
        ("0o17", 15),
        ("0b101", 5),
        ("-0x10", -16),
        ("012", 12),
        ("+7", 7),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("true", True),
        ("FALSE", False),
        ("~", None),
        ("null", None),
        ("", None),
        ("!!float 5", 5.0),
        ("!!str 5", "5"),
        ("! 5", "5"),
        ("'5'", "5"),
        *((text, text) for text in ("on", "off", "yes", "no", "Yes", "NO", "y", "n")),
        *((text, text) for text in ("2024-01-01", "12:30", "1:2:3", "1__0", "1_", "_1", "1.2.3", "1e", "e1", ".")),
        *((text, text) for text in ("0b", "0x", "0o8", "nan", "inf", "None", "tRUE", "1,5", "=", "1e5.5")),
    ],
)
def test_scalars_are_what_people_mean(text: str, value: Any) -> None:
    found = parsed(f"a: {text}")["a"]
    assert found == value
    assert type(found) is type(value)


def test_nan() -> None:
    assert math.isnan(parsed("a: .NaN")["a"])


def test_keys_are_values_too() -> None:
    assert parsed("2: a\n2.5: b\ntrue: c\non: d\n'3': e") == {2: "a", 2.5: "b", True: "c", "on": "d", "3": "e"}


def test_merge_keys() -> None:
    text = "a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc: {<<: [*a, *b], z: 3}\nd: {z: 4, <<: *b}\ne: {'<<': 1}"
    assert parsed(text) == {
        "a": {"x": 1, "y": 1},
        "b": {"y": 2, "z": 2},
        "c": {"x": 1, "y": 1, "z": 3},
        "d": {"y": 2, "z": 4},
        "e": {"<<": 1},
    }


def test_aliases_are_copies() -> None:
    problems: list[Problem] = []
    node = yaml.parse(Source("x", "a: &a [1]\nb: *a\nc: &c 5\n*c : 6"), problems)
    assert node is not None
    assert node.plain() == {"a": [1], "b": [1], "c": 5, 5: 6}
    assert node.value["a"] is not node.value["b"]
    assert node.value["a"].value is not node.value["b"].value


@pytest.mark.parametrize(
    ("text", "path", "line", "column"),
    [
        ("a: 1\nb:\n  c: x\n", "b::c", 3, 6),
        ("a: {b: 1, c: [1, 2]}\n", "a::c::1", 1, 18),
        ("a: &x\n  k: 1\nb: *x\n", "b::k", 2, 6),
        ("a: &x {k: 1}\nb:\n  <<: *x\n", "b::k", 1, 11),
        ("a: |\n  long\n  text\nb: 2\n", "b", 4, 4),
        ('a: "x\n  y"\nb: 2\n', "b", 3, 4),
        ("a: 1\r\nb: 2\r\nc: 3\r\n", "c", 3, 4),
        ("ä: {ö: 'ü', '日本': x}\n", "ä::日本", 1, 19),
        ("😀: 1\nb: {😀: 2}", "b::😀", 2, 8),
        ("a:\n- 1\n- - 2\n  - 3\n", "a::1::1", 4, 5),
        ("a: >-\n  folded\n", "a", 1, 4),
        ("? a\n: b\n", "a", 2, 3),
        ("# c\n---\na: 1\n", "a", 3, 4),
        ("a:\nb: 1\n", "a", 1, 3),
    ],
)
def test_every_value_knows_its_place(text: str, path: str, line: int, column: int) -> None:
    node = yaml.parse(Source("x", text), [])
    assert node is not None
    found = node.find(path)
    assert found is not None
    assert (found.origin.line, found.origin.column) == (line, column)


def test_keys_know_their_place() -> None:
    node = yaml.parse(Source("x", "a:\n  bcd: [1]\n"), [])
    assert node is not None
    key = node.value["a"].value["bcd"].key_origin
    assert (key.line, key.column) == (2, 3)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: 2\na: 3\n", ["3:1 this key is written twice"]),
        ("a: 1\n=a: 2\n~a:\n", ["2:1 this key is written twice", "3:1 this key is written twice"]),
        ("1: x\n'1': y", ["2:1 this key is written twice"]),
        ("1: x\ntrue: y", ["2:1 this key is written twice"]),
        ("a: {b: 1, b: 2, c: 3, c: 4}", ["1:11 this key is written twice", "1:23 this key is written twice"]),
        ("[1]: x", ["1:1 a key is text or a number; found a list"]),
        ("~: x", ["1:1 a key is text or a number; found null"]),
        ("a: {<<: 5}", ["1:9 `<<` takes a dict or a list of dicts; found 5"]),
        ("a: !!python/name:os.system", ["1:4 the tag `!!python/name:os.system` is not supported"]),
        ("a: !!python/tuple [1]", ["1:4 the tag `!!python/tuple` is not supported"]),
        ("a: !!set {x}", ["1:4 the tag `!!set` is not supported"]),
        ("a: !Foo {x: 1}", ["1:4 the tag `!Foo` is not supported"]),
        ("a: !!int x", ["1:4 `x` is no int"]),
        ("a: !!bool yes", ["1:4 `yes` is no bool"]),
        ("a: *b", ["1:4 there is no anchor `&b` before this alias"]),
        ("a: &a [*a]", ["1:8 this alias is inside what it repeats"]),
        ("a: 1\n---\nb: 1", ["2:1 a config is one YAML document; a second one begins here"]),
        ("a: b\0", ["1:5 this is not text: it holds the character U+0000"]),
        ("x: 1\na: \ud800", ["2:4 this is not text: it holds the character U+D800"]),
        ("a: \x1b[31m", ["1:4 this is not text: it holds the character U+001B"]),
        ("a: " + "9" * 5000, ["1:4 `9999999999999999999999999999999999999...` is too long for a number"]),
        ("a: " + "[" * 500, ["1:103 this is nested more than 100 deep"]),
        ("- " * 100_000, ["1:201 this is nested more than 100 deep"]),
        ("? " * 100_000, ["1:201 this is nested more than 100 deep"]),
        ("\n".join(" " * depth + "a:" for depth in range(500)), ["101:101 this is nested more than 100 deep"]),
        (
            "a: &a " + "[" * 60 + "]" * 60 + "\nb: " + "[" * 60 + "*a" + "]" * 60,
            ["2:64 this is nested more than 100 deep"],
        ),
    ],
)
def test_problems(text: str, expected: list[str]) -> None:
    assert problems_of(text) == expected


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("a: *.bias", 'Quote it: "*.bias"'),
        ("a: [{b: *.bias, c: 1}]", 'Quote it: "*.bias"'),
        ("a: *bias", 'Text that begins with `*` is quoted: "*bias"'),
    ],
)
def test_a_pattern_without_quotes(text: str, hint: str) -> None:
    problems: list[Problem] = []
    yaml.parse(Source("x.yaml", text), problems)
    assert [problem.hint for problem in problems] == [hint]


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
        + "".join(f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 10)}]\n" for i in range(12)),
        "a: &a {x: 1, y: 2}\n"
        + "".join(f"a{i}: &a{i} {{l: *a{i - 1 if i else ''}, r: *a{i - 1 if i else ''}}}\n" for i in range(25)),
    ],
)
def test_alias_bombs_are_refused(text: str) -> None:
    said: list[str] = []
    assert calls(lambda: said.extend(problems_of(text))) < 5_000_000
    assert "more than 1,000,000 values" in said[0]


def test_many_problems_are_the_first_hundred(write: Callable[..., str]) -> None:
    from lighter.config import read

    def look() -> None:
        with pytest.raises(ConfigError) as caught:
            read([file])
        problems.extend(caught.value.problems)

    file, problems = write("c.yaml", "a: 1\n" * 100_000), []
    assert calls(look) < 100_000
    assert len(problems) == 101
    assert "there may be more" in str(problems[-1])


NASTY = [
    *("yes", "no", "on", "off", "y", "n", "true", "True", "null", "~", "", " ", " x", "x ", "a: b", "a:", ": b", "# c"),
    *(
        "a #b",
        "@x",
        "%y",
        "$z",
        "`",
        "&a",
        "*a",
        "!t",
        "|",
        ">",
        "-",
        "- a",
        "?",
        "? a",
        "[",
        "]",
        "{",
        "}",
        ",",
        "'",
        '"',
    ),
    *(
        "1e-3",
        "1E5",
        "012",
        "0o17",
        "0x1f",
        "0b1",
        "1_000",
        "1__0",
        "+1",
        "1.",
        ".5",
        ".inf",
        "-.INF",
        ".nan",
        "1e",
        "1:2",
    ),
    *(
        "2024-01-01",
        "2024-01-01 10:00:00",
        "12:30",
        "190:20:30",
        "<<",
        "=",
        "=a",
        "~a",
        "a::b",
        "---",
        "...",
        "\\",
        "\\n",
    ),
    *(
        "a\nb",
        "a\n",
        "\na",
        "\n",
        "a\n\nb\n",
        " a\n b",
        "a\n  b",
        "\ta",
        "a\tb",
        "a\r\nb",
        "a\rb",
        "\0",
        "\x07",
        "\x1b[0m",
    ),
    *(
        "\x85",
        "\u2028",
        "\xa0",
        "\ufeff",
        "ä",
        "日本語",
        "😀",
        "e\u0301",
        "\u200b",
        "x" * 5000,
        "word " * 500,
        "a'b\"c",
        "%%",
        "!!",
    ),
    *(
        "key: value # comment",
        "multi\n # line\n: x",
        "trailing\n\n\n",
        "x" * 200 + "\n" + "y" * 200,
        "1_",
        "._5",
        "0_1.5",
    ),
]


@pytest.mark.parametrize("text", NASTY, ids=lambda text: ascii(text[:20]))
def test_strings_survive_a_round_trip(text: str) -> None:
    data = {"a": text, "b": [text, {"c": text}], "d": {text or "empty": 1}}
    dumped = yaml.dump(data)
    assert parsed(dumped) == data
    assert pyyaml.safe_load(dumped) == data


def test_any_plain_data_survives_a_round_trip() -> None:
    random = Random(0)
    letters = string.printable.replace("\r", "") + "äß日😀\xa0\u2028\x85@%$~=:#-"

    def anything(depth: int) -> Any:
        kind = random.randrange(9 if depth else 7)
        if kind == 7:
            return [anything(depth - 1) for _ in range(random.randrange(4))]
        if kind == 8:
            keys = ["".join(random.choices(letters, k=random.randrange(1, 6))) for _ in range(random.randrange(4))]
            return {f"k{index}{key}": anything(depth - 1) for index, key in enumerate(keys)}
        return [
            random.choice(NASTY),
            "".join(random.choices(letters, k=random.randrange(12))),
            random.randint(-(10**20), 10**20),
            random.choice([0.0, -0.0, 1e-300, 1e300, math.inf, -math.inf, random.random(), 1e16, 1e-5, 123456789.0]),
            random.choice([True, False]),
            None,
            "".join(random.choices("0123456789_.eExob+-:", k=random.randrange(1, 8))),
        ][kind]

    for _ in range(400):
        data = {"root": anything(4)}
        dumped = yaml.dump(data)
        found = parsed(dumped)
        assert found == data
        assert repr(found) == repr(data)  # 1 and True and 1.0 are equal, but not the same
        assert repr(pyyaml.safe_load(dumped)) == repr(data)


def test_what_yaml_has_no_word_for_is_written_as_text() -> None:
    from pathlib import PurePosixPath
    from types import MappingProxyType

    class Real(float):
        pass

    data = {
        "path": PurePosixPath("a/b"),
        "t": (1, 2),
        "m": MappingProxyType({"x": 1}),
        "r": Real(0.5),
        "o": len,
        "s": {1},
    }
    assert parsed(yaml.dump(data)) == {
        "path": "a/b",
        "t": [1, 2],
        "m": {"x": 1},
        "r": 0.5,
        "o": "<built-in function len>",
        "s": "{1}",
    }


@pytest.mark.slow
def test_work_is_linear() -> None:
    def work(count: int) -> int:
        text = "vars:\n" + "".join(f"  k{index}: {{a: {index}, b: x}}\n" for index in range(count))
        return calls(parsed, text)

    assert work(20_000) < 10.5 * work(2_000)
