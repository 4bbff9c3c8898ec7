"""Bounds of what a config may be, and what any text comes to: a config or a message, soon, and never anything else."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from lighter.config import examine
from lighter.config.problems import Problem, in_order
from tests.slow import slow_but
from tests.work import calls

Write = Callable[..., str]
EXAMPLES = sorted((Path(__file__).parents[2] / "examples").rglob("config.yaml"))
BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12)
)
HOSTILE = {
    "empty": (b"", "there is no model"),
    "blank": (b"\n\n# nothing\n", "there is no model"),
    "list": (b"- 1\n- 2\n", "a config is a dict of keys and values; found a list"),
    "text": (b"just text\n", "a config is a dict of keys and values; found 'just text'"),
    "not UTF-8": (b"a: \xff\xfe\n", "this is not UTF-8 text"),
    "UTF-16": ("a: 1\n".encode("utf-16"), "this is not UTF-8 text"),
    "binary": (bytes(range(256)) * 100, "this is not UTF-8 text"),
    "zeros": (b"\0" * 1000, "it holds the character U+0000"),
    "tabs": (b"a:\n\tb: 1\n", "YAML is indented with spaces, not tabs."),
    "too large": (b"a: " + b"x" * (10 * 2**20), "a config file has at most 10 MB"),
    "10,000 levels": (b"".join(b" " * depth + b"a:\n" for depth in range(10_000))[: 9 * 2**20], "more than 100 deep"),
    "10,000 brackets": (b"a: " + b"[" * 10_000, "more than 100 deep"),
    "alias bomb": (BOMB.encode(), "more than 1,000,000 values"),
    "copy bomb": (
        b"vars:\n  a0: [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
        + b"".join(
            f"  a{i}: [{', '.join([f'%vars::a{i - 1}'.join(chr(39) * 2)] * 10)}]\n".encode() for i in range(1, 9)
        ),
        "with its copies, this config has more than 1,000,000 values",
    ),
    "long chain of references": (
        b"vars:\n"
        + b"".join(f"  a{i}: '@vars::a{i + 1}'\n".encode() for i in range(20_000))
        + b"  a20000: '@vars::a0'\n",
        "these references go round in a circle",
    ),
    "6,000 digits": (b"vars: {a: " + b"1" * 6000 + b"}", "is too long for a number"),
    "6,000 hexadecimal digits": (b"vars: {a: 0x" + b"f" * 6000 + b"}", "is too long for a number"),
    "deep expression": (b"vars: {a: '$" + b"(" * 5000 + b"1" + b")" * 5000 + b"'}", "this expression is not Python"),
    "long expression": (b"vars: {a: '$" + b"1+" * 20_000 + b"1'}", "there is no model"),
    "many unknown names": (
        b"vars:\n" + b"".join(f"  a{i}: $n{i}\n".encode() for i in range(5000)),
        "these are the first 100",
    ),
    "many keys": (b"vars:\n" + b"".join(f"  k{i}: {i}\n".encode() for i in range(200_000)), "there is no model"),
}
LARGE = {"many keys", "copy bomb", "long chain of references"}  # seconds each, as calls are counted
MOST_WORK = 25_000_000  # calls, of which a machine does some ten millions in a second


@pytest.mark.parametrize("name", slow_but(HOSTILE, *HOSTILE.keys() - LARGE))
def test_a_hostile_file_is_a_message(write: Write, name: str) -> None:
    data, expected = HOSTILE[name]
    problems: list[Problem] = []
    assert calls(lambda: problems.extend(examine([write("c.yaml", data)])[1])) < MOST_WORK
    shown = "\n\n".join(map(str, in_order(problems)))
    assert expected in shown
    assert max(len(line) for line in shown.splitlines()) <= 400
    assert all(len(str(problem).splitlines()) <= 15 for problem in problems)


@pytest.mark.slow
def test_memory_is_bounded(write: Write) -> None:
    """The worst of them, in a process that may take no more than 1.5 GB."""
    for name in ("alias bomb", "copy bomb", "10,000 brackets", "too large"):
        write("c.yaml", HOSTILE[name][0])
        code = (
            "import resource; resource.setrlimit(resource.RLIMIT_AS, (1_500_000_000,) * 2)\n"
            "from lighter.config import examine; assert examine(['c.yaml'])[1]"
        )
        subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_any_text_is_a_config_or_a_message(write: Write) -> None:
    """Examples with bytes changed, cut, doubled and exchanged."""
    random = Random(0)
    texts = [path.read_bytes() for path in EXAMPLES]
    signs = [
        b"@",
        b"%",
        b"$",
        b"::",
        b"~",
        b"=",
        b"_target_",
        b"_args_",
        b"_base_",
        b"_imports_",
        b"null",
        b"[",
        b"}",
        b"'",
    ]
    unusable = 0
    for _ in range(400):
        text = bytearray(random.choice(texts))
        for _ in range(random.randrange(1, 12)):
            at = random.randrange(len(text) + 1)
            kind = random.randrange(5)
            if kind == 0:
                text[at : at + 1] = bytes([random.randrange(256)])
            elif kind == 1:
                text[at:at] = random.choice(signs)
            elif kind == 2:
                del text[at : at + random.randrange(20)]
            elif kind == 3:
                text[at:at] = text[: random.randrange(50)]
            else:
                lines = text.split(b"\n")
                random.shuffle(lines[: random.randrange(2, 10)])
                text = bytearray(b"\n".join(lines))
        config, problems = examine([write("c.yaml", bytes(text))])
        unusable += config is None
        str("\n".join(map(str, in_order(problems)))).encode()
    assert 0 < unusable < 400


@pytest.mark.slow
def test_work_is_linear(write: Write) -> None:
    """Ten times as many values are ten times the work."""

    def work(groups: int) -> int:
        text = "model: {_target_: x.Y}\n_imports_: {math: math}\nvars:\n  x: 1\n" + "".join(
            f"  g{i}: {{a: {i}, b: '@vars::x', c: '$math.sqrt(@::a)', d: '%vars::x', e: [1, 2, {{f: '@vars::x'}}]}}\n"
            for i in range(1, groups)
        )
        file = write(f"{groups}.yaml", text)
        assert examine([file, "vars::x=2"])[1] == []
        return calls(examine, [file, "vars::x=2"])

    assert work(2_000) < 10.5 * work(200)  # 20,000 values
