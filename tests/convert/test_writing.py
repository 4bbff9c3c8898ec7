"""The text of a converted config: it reads back as the same values, with the comments of its sources."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lighter.convert.nodes import added
from lighter.convert.writing import text_of
from tests.convert.work import from_text, read

VALUES: list[Any] = [
    *(None, True, 1, -2.5, 1e-7, float("inf"), "", " ", "a", "a b", "yes", "on", "null", "1e-3", "0x1f", "12:30"),
    *("@a::b", "%a::b", "$f'{@a}: #'", "a: b", "a #b", "- a", "[a", "{a}", "a,b", "'", '"', "\\", "*a", "&a", "!a"),
    *("two\nlines", "end\n", "\n", " \n x", "a\n\n  b\n", "tab\t", "ä", "日本", "\x07", "a" * 150),
]


def node(value: Any) -> Any:
    if isinstance(value, dict):
        return added({key: node(child) for key, child in value.items()})
    return added([node(child) for child in value] if isinstance(value, list) else value)


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_any_value_reads_back(value: Any) -> None:
    tree = {
        "a": value,
        "b": [value],
        "c": [[value, 1], [[value]]],
        "d": {"e": {"f": value, "g": [{"h": value, "i": [value]}, value]}},
        "k": [{"l": {"m": value}}, [], {}, [{}], {"n": []}],
        3: value,
        "a\nkey": [value],
        "k" * 200: {"\x07\n": value},
    }
    assert read(text_of(node(tree), ["# head"])).plain() == tree


def test_what_a_gap_says_stays_a_comment(own_place: Path) -> None:
    text = """model: {_target_: a.B, x: "${\\a\\n:\\e[31m}", "\\x07\\n- b": "???"}"""
    converted = from_text("hydra", text, folder=own_place)
    assert len(converted.left) == 2
    assert converted.text().isprintable() or set(converted.text()) - set("\n") <= set(
        filter(str.isprintable, converted.text())
    )
    assert read(converted.text()).plain() == converted.tree.plain()


def test_it_is_readable(own_place: Path) -> None:
    text = """\
# What this is.
# And how.

# the classes
model:   # ours
    class_path: a.B   # of a
    init_args:
        # how wide
        width: 3
        sizes: [1,   2, three]   # of layers
        text: "# no comment"   # 'one'
        # dropped: nothing is below
trainer:
    # first
    callbacks:
        # stops
        - class_path: a.C   # early
          init_args:
              n: 1   # times
        - class_path: a.D
seed_everything: 1   # lucky
"""
    converted = from_text("lightning-cli", text, folder=own_place)
    assert (
        converted.text().partition("\n\n")[2]
        == """\
# What this is.
# And how.

seed: 1  # lucky

# the classes
model:  # ours
  _target_: a.B  # of a
  # how wide
  width: 3
  sizes: [1, 2, three]  # of layers
  text: '# no comment'  # 'one'

trainer:
  # first
  callbacks:
    # stops
    - _target_: a.C  # early
      n: 1  # times
    - _target_: a.D
"""
    )
