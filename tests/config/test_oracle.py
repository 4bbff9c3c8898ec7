"""The language is sparkwheel's: what it resolves, Lighter resolves to the same, calling the same in the same order.

But for what is in a disabled definition: of that, Lighter makes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sparkwheel
import yaml

from lighter.config.objects import Objects

Make = Callable[..., Objects]
CALLS: list[str] = []
LETTER = "_target_: tests.config.test_oracle.letter, name"


def letter(name: str, *args: Any, **parts: Any) -> str | None:
    """Note that it was called."""
    CALLS.append(name)
    return None if name == "none" else name


CORPUS = [
    "{x: 1, a: '@vars::x', b: '@::x', c: {d: '@::::x', e: '%::::x'}}",
    "{x: [1, {y: 2}], a: '@vars::x::1::y', b: '$@vars::x[0] + @::x[1][\"y\"]'}",
    "{x: {y: {z: 3}}, c: '%::x', a: '@vars::c::y::z'}",
    "{x: {n: '@::m', m: 3}, a: '%vars::x'}",
    "{x: 5, a: '$7 % 4', b: '$@vars::x * 2', c: '$[i * @vars::x for i in range(3)]', d: '$f\"{@vars::x}\"'}",
    "{a: '$import math', b: '$math.sqrt(4)'}",
    "{a: '$np.floor(2.5)', b: '$str(P(\"a\") / \"b\")'}",
    "{a: {_target_: collections.Counter, _args_: [[1, 1, 2]]}, b: '$@vars::a.most_common(1)'}",
    "{a: {_target_: builtins.dict, a: {_target_: builtins.dict, b: 1}}, b: '@vars::a::a'}",
    "{a: [1, {_target_: builtins.dict, _disabled_: true}, 2], b: {c: {_target_: builtins.dict, _disabled_: 'True'}}}",
    "{a: {x: {_target_: builtins.dict, _disabled_: '$1 == 1'}, y: 1}}",
    "{a: {_target_: builtins.dict, _disabled_: false, z: 1}, b: {_target_: builtins.dict, _disabled_: '$1 == 2'}}",
    "{a: {_target_: '$dict', a: 1}, t: '$int', b: {_target_: '@vars::t', _args_: ['7']}}",
    "{a: {_target_: builtins.int, _mode_: callable}, b: '$@vars::a(\"3\")'}",
    "{m: callable, a: {_target_: builtins.int, _mode_: '@vars::m', base: 2}, b: '$@vars::a(\"101\")'}",
    "{a: {_target_: fractions.Fraction, _args_: '@vars::p'}, p: [1, 2], b: '$@vars::a + 1'}",
    "{h: {_target_: fractions.Fraction, _args_: [1, 2]}, s: '@vars::h', n: '%vars::h', c: '$@vars::s is @vars::h'}",
    "{h: {_target_: fractions.Fraction, _args_: [1, 2]}, n: '%vars::h', c: '$@vars::n is @vars::h'}",
    "{a: text with @vars::b and $1 and %x, b: null, c: '', d: '@vars::b'}",
    f"{{a: {{{LETTER}: a, p: {{{LETTER}: b}}, q: '@vars::c', r: [{{{LETTER}: d}}]}}, c: {{{LETTER}: c}}}}",
    f"{{a: {{{LETTER}: a, q: '@vars::c::p', p: {{{LETTER}: b}}}}, c: {{{LETTER}: c, p: {{{LETTER}: d}}}}}}",
    f"{{a: '$@vars::d + @vars::b', b: {{{LETTER}: b}}, c: {{{LETTER}: c, p: '@vars::a'}}, d: {{{LETTER}: d}}}}",
    f"{{a: {{{LETTER}: a, p: {{{LETTER}: none}}, q: 1}}, b: [{{{LETTER}: none}}], c: '@vars::b'}}",
    f"{{a: {{{LETTER}: a, p: '@vars::b::p'}}, b: {{{LETTER}: b, p: {{{LETTER}: c}}, q: {{{LETTER}: d}}}}}}",
]


def outcome(resolve: Callable[[str], Any], path: str) -> tuple[Any, list[str]]:
    """What a path becomes, and the names that were called on the way."""
    CALLS.clear()
    value = resolve(path)
    return value, list(CALLS)


@pytest.mark.parametrize("text", CORPUS)
def test_it_resolves_to_what_sparkwheel_resolves(objects: Make, text: str) -> None:
    imports = "_imports_: {np: math, P: pathlib.PurePosixPath}\n"
    theirs = sparkwheel.Config().update(yaml.safe_load(f"{imports}vars: {text}"))
    ours = objects(f"{imports}vars: {text}\n")
    if "import math" in text:  # a module, which sparkwheel finds in all that it resolves
        assert ours.get("vars::b") == theirs.resolve("vars::b") == 2
        return
    names = [*yaml.safe_load(text)]
    for path in (*(f"vars::{name}" for name in names), "vars"):
        expected = outcome(theirs.resolve, path)
        found = outcome(ours.get, path)
        if "_mode_" in text:  # partials are equal only to themselves
            expected, found = (repr(expected[0]), expected[1]), (repr(found[0]), found[1])
        assert found == expected, path
