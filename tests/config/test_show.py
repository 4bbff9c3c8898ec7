"""What `lighter show` and `lighter why` say: YAML that runs the same, origins, pure values, histories."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from lighter.cli import cli
from lighter.config import load_merged, yaml
from lighter.config.dump import dump
from lighter.config.history import history
from lighter.config.pure import resolved
from lighter.config.tree import Node, Source
from lighter.errors import ConfigError

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").rglob("config.yaml"))
Write = Callable[..., str]


def lighter(*words: str) -> str:
    result = CliRunner().invoke(cli, words)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize("config", EXAMPLES, ids=lambda path: path.parent.name)
@pytest.mark.parametrize("options", [(), ("--origins",), ("--resolve",), ("--origins", "--resolve")])
def test_what_is_shown_is_a_config_that_says_the_same(config: Path, options: tuple[str, ...], own_place: Path) -> None:
    (own_place / "shown.yaml").write_text(lighter("show", str(config), *options))
    again = lighter("show", "shown.yaml")
    assert again == lighter("show", str(config), *(option for option in options if option == "--resolve"))
    assert f"project: {config.parent}\n" in again or "project" not in config.read_text().split("seed")[0]


def test_origins(write: Write) -> None:
    write("base.yaml", "a: {x: 1, y: [1, {z: 2}], e: {}, n: null}\nt: |\n  two\n\n  lines\nq: 'a # b'\n")
    write("over.yaml", "_base_: base.yaml\na:\n  x: 2\n  =e: []\n")
    shown = lighter("show", "over.yaml", "a::w=3", "--origins")
    for line in (
        "  x: 2  # over.yaml:3",
        "  - z: 2  # base.yaml:1",
        "  e: []  # over.yaml:4",
        "  w: 3  # command line: a::w=3",
    ):
        assert f"{line}\n" in shown
    problems: list[Any] = []
    parsed = yaml.parse(Source("", shown), problems)
    assert parsed is not None
    assert parsed.plain() == load_merged(["over.yaml", "a::w=3"]).plain()


def test_a_live_object_does_not_stand_in_the_way() -> None:
    tree = load_merged([{"model": {"_target_": "x.Y", "f": len}}])
    assert "built-in function len" in dump(tree, origins=True)


@pytest.mark.parametrize(
    ("value", "result"),
    [
        ("$1 + 2 * 3", 7),
        ("$-(2 ** 10) // 3", -342),
        ("$@vars::n / 2", 1.5),
        ("$[@vars::n, 'a'][0]", 3),
        ("$1 if @vars::n > 2 else 0", 1),
        ("$not True", False),
        ("@vars::n", 3),
        ("@vars::list", [1, 3]),
        ("@vars::chain", 6),
        ("$@vars::list is @vars::list", True),
        ("$2 in @vars::list or @vars::n[0:1] == 'x' if @vars::n is None else @vars::list[::-1]", [3, 1]),
        ("@::n", 3),
        ("$'a' + 'b'", "ab"),
        *(
            (text, text)
            for text in ("$len('a')", "$10 ** 10 ** 10", "$'a' * 10 ** 9", "$[0] * 9 ** 9", "$2 ** 65", "$1 / 0")
        ),
        *(
            (text, text)
            for text in ("@vars::object", "$@vars::object.x", "%vars::n", "$%vars::n + 1", "$lambda: 1", "$np.pi")
        ),
        *(
            (text, text)
            for text in ("$().__class__", "$f'{1}'", "$[i for i in [1]]", "$1 +", "@vars::nothing", "@::::::x")
        ),
        ("$" + "(" * 90 + "1" + ")" * 90, 1),
        ("$" + "-" * 5000 + "1", "$" + "-" * 5000 + "1"),
    ],
)
def test_only_what_computes_is_worked_out(value: str, result: Any) -> None:
    free = {"n": 3, "list": [1, "@vars::n"], "chain": "$@vars::n * 2", "object": {"_target_": "x.Y"}, "value": value}
    tree = resolved(load_merged([{"model": {"_target_": "x.Y"}, "vars": free}]))
    found = tree.find("vars::value")
    assert found is not None
    assert found.plain() == result


def test_what_means_something_else_where_it_is_copied_stays() -> None:
    free = {
        "w": 1,
        "block": {"w": 2, "x": "@::w", "y": "@vars::w"},
        "copy": "%vars::block",
        "other": {"w": 3, "x": "@::w"},
    }
    tree = resolved(load_merged([{"vars": free}]))
    assert tree.plain()["vars"]["block"] == {"w": 2, "x": "@::w", "y": 1}
    assert tree.plain()["vars"]["other"] == {"w": 3, "x": 3}


def test_circles_end() -> None:
    free = {"a": "@vars::b", "b": "$@vars::a + 1"}
    assert resolved(load_merged([{"vars": free}])).plain()["vars"] == free


FILES = {
    "base.yaml": "m:\n  lr: 1\n  l: [1]\n  gone: {x: 1}\nv: {acc: {n: 1}}\nc: '%v::acc'\n",
    "over.yaml": "_base_: base.yaml\nm:\n  lr: 2\n  l: [2]\n  ~gone:\n  new: 3\n",
}


@pytest.mark.parametrize(
    ("key", "words", "lines"),
    [
        ("m::lr", [], ["base.yaml:2:3 defined 1", "over.yaml:3:3 changed 2"]),
        ("m::lr", ["m::lr=3"], ["base.yaml:2:3 defined 1", "over.yaml:3:3 changed 2", "command line changed 3"]),
        ("m::l", [], ["base.yaml:3:3 defined [1]", "over.yaml:4:3 changed [1, 2]"]),
        ("m::l::1", [], ["over.yaml:4:7 defined 2"]),
        ("m::gone", [], ["base.yaml:4:3 defined {'x': 1}", "over.yaml:5:3 deleted None"]),
        ("m::gone::x", [], ["base.yaml:4:10 defined 1", "over.yaml:5:3 deleted None"]),
        ("m::new", ["~m"], ["over.yaml:6:3 defined 3", "command line deleted None"]),
        ("m::new", ["=m={}"], ["over.yaml:6:3 defined 3", "command line deleted None"]),
        (
            "m::new",
            ["~m::new", "m::new=4"],
            ["over.yaml:6:3 defined 3", "command line deleted None", "command line defined 4"],
        ),
        ("seed", [], ["default defined 0"]),
        ("v::acc", [], ["base.yaml:5:5 defined {'n': 1}"]),
    ],
)
def test_the_history_of_a_value(write: Write, key: str, words: list[str], lines: list[str]) -> None:
    for name, text in FILES.items():
        write(name, text)
    events, _ = history(key, ["over.yaml", *words])
    assert [f"{event.origin} {event.change} {event.value}" for event in events] == lines


def test_the_history_of_what_a_dict_holds(write: Write) -> None:
    for name, text in FILES.items():
        write(name, text)
    events, _ = history("m", ["over.yaml"])
    changed = [(event.change, event.path) for event in events]
    assert changed == [
        ("defined", "m"),
        ("changed", "m::lr"),
        ("changed", "m::l"),
        ("defined", "m::new"),
        ("deleted", "m::gone"),
    ]


def test_why_follows_copies(write: Write) -> None:
    for name, text in FILES.items():
        write(name, text)
    assert lighter("why", "c::n", "over.yaml").splitlines() == [
        "c::n",
        "  stands for v::acc::n",
        "v::acc::n",
        "  base.yaml:5:11  defined: 1",
    ]


def test_why_of_nothing_names_the_nearest(write: Write) -> None:
    for name, text in FILES.items():
        write(name, text)
    result = CliRunner().invoke(cli, ["why", "m::lrr", "over.yaml"])
    assert (result.exit_code, result.stderr) == (2, "m::lrr: there is no such value\n  Did you mean `m::lr`?\n")
    with pytest.raises(ConfigError, match="there is no such file"):
        history("m", ["nowhere.yaml"])


def test_loading_step_by_step_leaves_no_trace(write: Write) -> None:
    for name, text in FILES.items():
        write(name, text)
    before = load_merged(["over.yaml"]).plain()
    history("m::lr", ["over.yaml"])
    assert load_merged(["over.yaml"]).plain() == before
    assert isinstance(load_merged(["over.yaml"]), Node)
