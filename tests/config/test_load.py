from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lighter.config import read
from lighter.config.load import load
from lighter.config.safe import SafeMode
from lighter.errors import ConfigError
from tests.work import calls

from .conftest import MODEL

Write = Callable[..., str]


def problems_of(*inputs: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        load(inputs)
    return str(caught.value)


def test_files_merge_left_to_right(write: Write) -> None:
    a, b = write("a.yaml", "x: {p: 1, q: [1]}"), write("b.yaml", "x: {p: 2, q: [2]}\n~y: \n")
    assert load([a, {"y": 1}, b, "x::q=[3]"]).plain() == {"x": {"p": 2, "q": [1, 2, 3]}}


def test_bases_are_relative_to_their_file(write: Write) -> None:
    write("base/a.yaml", "_base_: ../other/b.yaml\nx: 1\ny: 1\n")
    write("other/b.yaml", "x: 0\nz: 0\n")
    assert load([write("sub/c.yaml", "_base_: [../base/a.yaml]\ny: 2\n")]).plain() == {"x": 1, "z": 0, "y": 2}


def test_a_shared_base_counts_once_and_first(write: Write) -> None:
    write("d.yaml", "x: d\nl: [d]\n")
    write("b.yaml", "_base_: d.yaml\nx: b\nl: [b]\n")
    write("c.yaml", "_base_: ./d.yaml\nl: [c]\n")
    a = write("a.yaml", "_base_: [b.yaml, c.yaml]\nl: [a]\n")
    assert load([a]).plain() == {"x": "b", "l": ["d", "b", "c", "a"]}
    assert load(["b.yaml", "c.yaml"]).plain() == {"x": "b", "l": ["d", "b", "c"]}


def test_a_file_given_twice_counts_twice(write: Write) -> None:
    a, b = write("a.yaml", "x: a\n"), write("b.yaml", "x: b\n")
    assert load([a, b, a]).plain() == {"x": "a"}


def test_a_base_in_a_dict_is_relative_to_the_working_directory(write: Write) -> None:
    assert load([{"_base_": write("a.yaml", "x: 1"), "y": 2}]).plain() == {"x": 1, "y": 2}


def test_bases_in_a_circle(write: Write) -> None:
    write("b.yaml", "_base_: a.yaml\n")
    message = problems_of(write("a.yaml", "_base_: b.yaml\n"))
    assert message.startswith("b.yaml:1:9: _base_: these files are each other's bases: a.yaml -> b.yaml -> a.yaml\n")


def test_a_very_long_chain_of_bases(write: Write) -> None:
    for index in range(400):
        write(f"f{index}.yaml", f"_base_: f{index + 1}.yaml\n")
    assert "each other's bases" in problems_of("f0.yaml")


def test_many_diamonds_are_read_once(write: Write) -> None:
    for index in range(30):
        write(f"l{index}.yaml", f"_base_: [l{index + 1}.yaml, r{index + 1}.yaml]\n")
        write(f"r{index}.yaml", f"_base_: [l{index + 1}.yaml, r{index + 1}.yaml]\n")
    write("l30.yaml", "x: [1]")
    write("r30.yaml", "x: [2]")
    assert load(["l0.yaml"]).plain() == {"x": [1, 2]}


@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_line_ends_and_bom(write: Write, bom: bytes, newline: str) -> None:
    root = load([write("a.yaml", bom + newline.join(["a: 1", "b:", "  c: ä", ""]).encode())])
    assert root.plain() == {"a": 1, "b": {"c": "ä"}}
    assert str(root.find("b::c").origin) == "a.yaml:3:6"  # type: ignore[union-attr]
    assert str(root.find("a").origin) == "a.yaml:1:4"  # type: ignore[union-attr]


def test_a_file_whose_path_looks_like_an_override(write: Write) -> None:
    assert load([write("lr=0.1/~a.yaml", "x: 1"), write("~b.yaml", "y: 2"), write("=c", "z: 3")]).plain() == {
        "x": 1,
        "y": 2,
        "z": 3,
    }


def test_a_pipe_can_be_read() -> None:
    read_end, write_end = os.pipe()
    os.write(write_end, b"a: 1\n")
    os.close(write_end)
    assert load([f"/dev/fd/{read_end}"]).plain() == {"a": 1}
    os.close(read_end)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a: \xff\n", "c.yaml: this is not UTF-8 text: line 1 has the byte 0xff"),
        ("a: 1".encode("utf-16"), "c.yaml: this is not UTF-8 text"),
        (b"- 1\n", "c.yaml:1:1: a config is a dict of keys and values; found a list"),
        (b"hello", "c.yaml:1:1: a config is a dict of keys and values; found 'hello'"),
        (b"a: " + b"x" * 11_000_000, "c.yaml: a config file has at most 10 MB"),
        (b"a: \x00", "c.yaml:1:4: this is not text: it holds the character U+0000"),
    ],
)
def test_files_that_are_no_configs(write: Write, data: bytes, message: str) -> None:
    assert problems_of(write("c.yaml", data)).startswith(message)


@pytest.mark.parametrize("data", [b"", b"# nothing\n", b"---\n", b"\n\n", b"null\n", b"{}\n"])
def test_an_empty_file_adds_nothing(write: Write, data: bytes) -> None:
    assert load([write("c.yaml", data), {"a": 1}]).plain() == {"a": 1}


def test_files_that_cannot_be_read(write: Write, tmp_path: Path) -> None:
    write("config.yaml", "a: 1")
    assert problems_of("confg.yaml") == "confg.yaml: there is no such file\n  Did you mean `config.yaml`?"
    assert problems_of("confg") == (
        "confg: there is no such file\n  An override is written key=value; a file ends in .yaml."
    )
    assert problems_of(str(tmp_path)).endswith("this is a folder, not a file")
    assert "cannot be read" in problems_of("a\0b")
    assert "cannot be read" in problems_of("x" * 5000)
    assert problems_of() == "no config file is given\n  Usage: lighter fit config.yaml [key::path=value ...]"
    assert len(problems_of("nothing.yaml", {"_base_": "gone.yaml"}, "also.yaml", "=x").split("\n\n")) == 4


@pytest.mark.parametrize("text", ["%pipe.yaml::x", "x"])
def test_a_pipe_that_nobody_writes_into(write: Write, tmp_path: Path, text: str) -> None:
    """It is not waited for: as a file that the config names, and as an input."""
    os.mkfifo(tmp_path / "pipe.yaml")
    inputs = [write("a.yaml", f"y: '{text}'"), *([str(tmp_path / "pipe.yaml")] if text == "x" else [])]
    assert "it is a pipe, and nobody writes into it" in problems_of(*inputs)
    with pytest.raises(ConfigError, match="in safe mode it must be a regular file"):
        load(inputs, SafeMode(roots=[tmp_path]))


def test_what_is_outside_may_be_there_or_not(write: Write, tmp_path: Path) -> None:
    """In safe mode nothing tells, neither the message nor whether there is one."""
    (tmp_path / "in").mkdir()
    write("secret.yaml", "x: 1")
    write("in/here.yaml", "x: 1")
    (tmp_path / "in/secret").symlink_to(tmp_path / "secret.yaml")
    (tmp_path / "in/absent").symlink_to(tmp_path / "absent.yaml")
    for named in ("../NAME.yaml", "NAME", "../NAME.yaml/../in/here.yaml", "~/../NAME.yaml"):
        said = {}
        for name in ("secret", "absent"):
            file = write("in/a.yaml", f"_base_: '{named}'\ny: '%{named}::x'".replace("NAME", name))
            with pytest.raises(ConfigError, match="safe mode does not read this file") as caught:
                load([file], SafeMode(roots=[tmp_path / "in"]))
            said[name] = str(caught.value).replace(name, "NAME")
        assert said["secret"] == said["absent"]


def test_an_endless_file() -> None:
    assert "at most 10 MB" in problems_of("/dev/zero")


def test_other_files_are_copied_from(write: Write) -> None:
    write("sub/x.yaml", "p: {s: '%q::r', t: '@vars::k', u: '%::s'}\nq: {r: 5}\nz: '%y.yaml::deep'\n")
    write("sub/y.yaml", "_base_: ../base.yaml\ndeep: {own: '%only'}\n")
    write("base.yaml", "only: here\n")
    root = load([write("c.yaml", "a: '%sub/x.yaml::p'\nb: '%sub/x.yaml::z'\nc: '%sub/x.yaml::z::own'\n"), "a::s=6"])
    assert root.plain() == {"a": {"s": 6, "t": "@vars::k", "u": 5}, "b": {"own": "here"}, "c": "here"}
    assert load([{"a": "%sub/y.yaml"}]).plain() == {"a": {"only": "here", "deep": {"own": "here"}}}
    assert load([{"a": 1}, "b=%sub/x.yaml::q"]).plain() == {"a": 1, "b": {"r": 5}}


def test_files_may_copy_from_each_other(write: Write) -> None:
    write("a.yaml", "x: '%b.yaml::y'\nz: 3\n")
    write("b.yaml", "y: '%a.yaml::z'\n")
    assert load(["a.yaml"]).plain() == {"x": 3, "z": 3}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("%gone.yaml::a", "c.yaml:1:4: gone.yaml: there is no such file"),
        ("%x.yaml::pp", "c.yaml:1:4: a: `%x.yaml::pp` refers to nothing"),
        ("%x.yaml::circle", "x.yaml:2:9: circle: copies refer to each other in a circle: circle -> circle"),
        ("%x.yaml::expression", "x.yaml:3:13: expression: an expression that is copied from another file cannot"),
        ("%~no-such-user/x.yaml::a", "c.yaml:1:4: ~no-such-user/x.yaml: there is no such file"),
        ("%" + "x" * 5000 + ".yaml", "c.yaml:1:4: xxx"),
    ],
)
def test_copies_from_files_that_fail(write: Write, value: str, message: str) -> None:
    write("x.yaml", "p: 1\ncircle: '%x.yaml::circle'\nexpression: '$[%p]'\n")
    assert problems_of(write("c.yaml", f"a: '{value}'\n")).startswith(message)


@pytest.mark.slow
def test_copies_that_explode(write: Write) -> None:
    for index in range(12):
        write(f"f{index}.yaml", f"x: [{', '.join([repr(f'%f{index + 1}.yaml::x')] * 10)}]\n")
    write("f12.yaml", "x: [1, 2, 3]\n")
    said: list[str] = []
    assert calls(lambda: said.append(problems_of("f0.yaml"))) < 10_000_000
    assert "more than 1,000,000 values" in said[0]


def test_dicts_from_python() -> None:
    marker = object()
    root = load([{"a": {"b::c": (1, marker)}, "d": {1: 2}}])
    assert root.plain() == {"a": {"b": {"c": [1, marker]}}, "d": {1: 2}}
    endless: dict[str, Any] = {}
    endless["a"] = endless
    assert "nested more than 100 deep" in problems_of(endless)
    assert "a key is text or a number; found None" in problems_of({"a": {(): 1}}).replace("()", "None")


def test_dump_runs_the_same_again(write: Write) -> None:
    write("x.yaml", "p: {s: 1}\n")
    c = write("c.yaml", f"{MODEL}vars:\n  a: '%x.yaml::p'\n  b: 1e-3\n  c: ['yes', \"1e-3\"]\n  d::e: {{1: x}}\n")
    config = read([c, "args::fit={f: on}"])
    again = read([write("other/again.yaml", config.dump())])
    assert again.merged.plain() == config.merged.plain()
    assert again.dump() == config.dump()


def test_a_default_seed_and_the_section(write: Write) -> None:
    config = read([write("c.yaml", "system: {_target_: x.Y}")])
    assert config.module_section == "system"
    assert config.merged.plain()["seed"] == 0
    assert read([{"model": {"_target_": "x.Y"}, "seed": 7}]).merged.plain()["seed"] == 7


@pytest.mark.slow
def test_work_of_a_large_config_is_linear(write: Write) -> None:
    def work(groups: int) -> int:
        text = MODEL + "vars:\n  x: 1\n"
        text += "".join(
            f"  g{i}: {{a: {i}, b: '@vars::x', c: '$@::a + 1', d: '%vars::x', e: [1, 2, 3, 4, 5]}}\n"
            for i in range(groups)
        )
        file = write(f"{groups}.yaml", text)
        return calls(lambda: read([file]).objects().get("vars"))

    work(20)  # what is done once in a process
    assert work(2_000) < 10.5 * work(200)


def test_no_torch() -> None:
    code = "import sys, lighter.config.objects; sys.exit(bool({'torch', 'pytorch_lightning'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
