from __future__ import annotations

import copy
import functools
import pickle
import traceback
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from lighter.config import read
from lighter.config.deferred import Deferred, defer
from lighter.config.objects import Objects
from lighter.errors import ConfigError, ModuleError
from tests.work import calls

from . import targets

Make = Callable[..., Objects]
SIZED = "{{_target_: tests.config.targets.sized, {}}}"
THING = "_target_: tests.config.targets.Thing"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{_target_: collections.Counter, _args_: [[1, 1, 2]]}", Counter({1: 2, 2: 1})),
        ("{_target_: builtins.dict, a: {_target_: builtins.dict, b: 1}}", {"a": {"b": 1}}),
        ("[1, {_target_: builtins.dict, _disabled_: true}, 2]", [1, 2]),
        ("{x: {_target_: builtins.dict, _disabled_: '$1 == 1'}, y: 1}", {"y": 1}),
        ("{x: {_target_: no.such.Thing, _disabled_: 'True'}, y: 1}", {"y": 1}),
        ("{x: {_target_: builtins.dict, _disabled_: false, z: 1}}", {"x": {"z": 1}}),
        ("{_target_: '$dict', a: 1}", {"a": 1}),
        ("{_target_: '@vars::type', a: 1}", {"a": 1}),
        ("{_target_: builtins.list, _args_: '@vars::args'}", [1]),
        ("{_target_: str.upper, _args_: [a]}", "A"),
        ('\'$P("a", "b").as_posix() + np.pi.__class__.__name__\'', "a/bfloat"),
        ("{x: [1, {y: [2, '@vars::one']}]}", {"x": [1, {"y": [2, 1]}]}),
        (SIZED.format("color: GREEN, size: [3, 4]"), (targets.Color.GREEN, (3, 4), None, "", ())),
        (SIZED.format("_args_: [RED, [3, 4]]"), (targets.Color.RED, (3, 4), None, "", ())),
        (SIZED.format("sizes: [[1], [2, 3]], either: RED"), (None, (0, 0), [(1,), (2, 3)], "RED", ())),
        (SIZED.format("listed: [1], size: '@vars::args::0'"), (None, (1,), None, "", [1])),
        ("\"$f'{@vars::one}-{[@vars::one, 2][1]:02d}'\"", "1-02"),
        ("'$f\"{@vars::one}\"'", "1"),
        ("'$\"me@vars::one\" + str(@vars::one)'", "me@vars::one1"),
        ("\"$'me@example.com, @::b'\"", "me@example.com, @::b"),
        ("\"$f'me@{@vars::one}'\"", "me@1"),
        ("'$[x for x in [1, 2] if not@vars::one == x]'", [2]),
        ("'$(lambda x: x + @::one)(1)'", 2),
    ],
)
def test_what_is_made(objects: Make, text: str, value: Any) -> None:
    made = objects(
        f"_imports_: {{np: math, P: pathlib.PurePosixPath}}\nvars: {{a: {text}, one: 1, type: $dict, args: [[1]]}}\n"
    )
    assert made.get("vars::a") == value


def test_callable_mode(objects: Make) -> None:
    made = objects(
        "vars: {a: {_target_: builtins.int, _mode_: callable, base: 2}, b: {_target_: int, _mode_: callable}}\n"
    )
    partial = made.get("vars::a")
    assert isinstance(partial, functools.partial)
    assert partial("101") == 5
    assert made.get("vars::b") is int


def test_nothing_is_made_before_it_is_asked_for_and_only_once(objects: Make) -> None:
    before = targets.Thing.made
    made = objects(f"vars: {{a: {{{THING}}}, b: {{{THING}, part: '@vars::a'}}, c: {{{THING}}}}}\n")
    assert targets.Thing.made == before
    assert made.get("vars::b").parts["part"] is made.get("vars::a") is made.get("vars::a")
    assert targets.Thing.made == before + 2


def test_nothing_in_a_disabled_definition_is_made(objects: Make) -> None:
    made = objects(
        "vars: {a: {_target_: builtins.dict, _disabled_: true, x: {_target_: tests.config.targets.Failing}}}\n"
    )
    assert made.get("vars") == {}


def test_any_path_can_be_asked_for(objects: Make) -> None:
    made = objects("args: {fit: {ckpt_path: '@vars::x'}}\nvars: {x: [1, {y: 2}]}\n")
    assert made.get("args::fit") == {"ckpt_path": [1, {"y": 2}]}
    assert made.get("vars::x::1::y") == 2
    assert made.sections == ["model", "args", "vars", "seed"]
    with pytest.raises(KeyError, match="vars::q"):
        made.get("vars::q")


def test_definitions_and_targets(objects: Make) -> None:
    made = objects(
        f"vars: {{a: {{{THING}, size: '@::n', n: 1}}, b: {{_target_: '@vars::t'}}, t: $int, 3: {{4: [x]}}}}\n"
    )
    assert made.definition("vars::a") == {"_target_": "tests.config.targets.Thing", "size": "@vars::a::n", "n": 1}
    assert made.definition("vars::3::4::0") == "x"
    assert made.target("vars::a") is targets.Thing
    assert made.target("vars::b") is int
    for path in ("vars::x", "vars::3::4::7", "vars::3::4::x", "vars::a::n::x"):
        with pytest.raises(KeyError):
            made.definition(path)


def test_exchange_keeps_what_is_below(objects: Make) -> None:
    made = objects(f"vars: {{a: {{{THING}, size: 5, part: {{{THING}}}}}, b: '@vars::a::part'}}\n")
    made.exchange("vars::a", {"_target_": "tests.config.targets.Thing", "size": 7})
    assert made.get("vars::a").size == 7
    assert made.get("vars::a").parts == {}
    assert isinstance(made.get("vars::b"), targets.Thing)


def test_references_to(objects: Make) -> None:
    made = objects(
        "vars: {a: {x: 1}, b: '@vars::a', c: {d: '$@vars::a', e: '@vars::a::x'}, f: ['@::a', '@vars::a']}\n",
        "~vars::f::0",
    )
    assert made.references_to("vars::a", outside=[]) == ["vars::b", "vars::c::d", "vars::f::0"]
    assert made.references_to("vars::a", outside=["vars::c", "vars::b"]) == ["vars::f::0"]


def test_deferred(objects: Make) -> None:
    made = objects(
        f"vars: {{a: {{{THING}, size: '@vars::n', part: {{{THING}}}}}, n: 4, l: [{{{THING}}}, 1, '@vars::n', null]}}\n"
    )
    deferred = defer(made, "vars::a")
    assert isinstance(deferred, Deferred)
    assert (deferred.path, deferred.target, deferred.argument("size")) == ("vars::a", targets.Thing, 4)
    assert deferred.definition["size"] == "@vars::n"
    first, second = deferred.build(extra=[1]), deferred.build(size=9)
    assert (first.size, first.parts["extra"], second.size) == (4, [1], 9)
    assert made.get("vars::a") is second
    assert repr(deferred) == "<the definition vars::a of the config, not built yet>"
    listed = defer(made, "vars::l")
    assert [isinstance(item, Deferred) for item in listed] == [True, False, True, False]
    assert listed[2].build() == 4
    problem = deferred.problem("wrong", key="size", hint="right")
    assert str(problem).startswith("c.yaml:2:56: vars::a::size: wrong\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "{_target_: no_such_package.Thing}",
            "vars::a::_target_: `no_such_package.Thing` cannot be imported: No module named",
        ),
        ("{_target_: Thing}", "vars::a::_target_: `Thing` cannot be imported: No module named 'Thing'"),
        ("{_target_: collections.Countr}", "vars::a::_target_: `collections` has no `Countr`"),
        (
            "{_target_: collections}",
            "vars::a::_target_: `_target_` names a class or function, but `collections` is a module",
        ),
        ("{_target_: math.pi}", "vars::a::_target_: `_target_` names a class or function, but `math.pi` is 3.14159"),
        ("{_target_: '@vars::n'}", "vars::a::_target_: `_target_` names a class or function, but `1` is 1"),
        (
            "{_target_: tests.config.targets.Strict, in_feature: 1}",
            "vars::a::in_feature: tests.config.targets.Strict: there is no argument `in_feature`",
        ),
        (
            "{_target_: tests.config.targets.Strict}",
            "vars::a: tests.config.targets.Strict: the argument `in_features` is missing",
        ),
        (
            "{_target_: tests.config.targets.Strict, _args_: [1, 2, 3]}",
            "vars::a: tests.config.targets.Strict: `_args_` has 3 items; by position it takes at most 2",
        ),
        (
            "{_target_: tests.config.targets.Strict, _args_: [1], in_features: 1}",
            "vars::a::in_features: tests.config.targets.Strict: `in_features` is given twice",
        ),
        (
            "{_target_: tests.config.targets.Decorated, max_epoch: 1}",
            "vars::a::max_epoch: tests.config.targets.Decorated",
        ),
        (
            "{_target_: builtins.int, x: 1}",
            "vars::a: builtins.int cannot be called like this: ",
        ),
        ("{_target_: builtins.list, _args_: '@vars::tuple'}", "vars::a: `_args_` is a list; found (1,)"),
        (
            "{_target_: builtins.list, _mode_: '$\"calable\"'}",
            "vars::a: `_mode_` is default, callable or debug; found 'calable'",
        ),
        ("'$math.nope'", "vars::a: this expression fails: AttributeError: module 'math' has no attribute 'nope'"),
        ("'$1 / 0'", "vars::a: this expression fails: ZeroDivisionError: division by zero"),
        ("'$1 + \"a\"'", "vars::a: this expression fails: TypeError: unsupported operand"),
    ],
)
def test_the_configs_mistakes(objects: Make, text: str, message: str) -> None:
    made = objects(f"_imports_: {{math: math}}\nvars: {{n: 1, tuple: '$(1,)', a: {text}}}\n")
    with pytest.raises(ConfigError) as caught:
        made.get("vars::a")
    (problem,) = caught.value.problems
    assert str(problem).startswith("c.yaml:3:")
    assert message in str(problem).splitlines()[0]


def test_a_circle_through_what_another_class_would_build_later() -> None:
    """Whether `optimizer` is built with the module is the class's choice, so reading it says nothing."""
    made = read([{"model": {"_target_": "builtins.dict", "optimizer": "$len(@model)"}}]).objects()
    with pytest.raises(ConfigError, match="model::optimizer: these references go round in a circle"):
        made.get("model")


def test_a_chain_of_references_may_be_long(objects: Make) -> None:
    links = "".join(f"  a{i}: {{_target_: builtins.dict, next: '@vars::a{i + 1}'}}\n" for i in range(3000))
    made = objects(f"vars:\n{links}  a3000: [1]\n")
    assert made.get("vars::a0")["next"] is made.get("vars::a1")


@pytest.mark.parametrize("way", ["sys.exit(3)", "sys.exit()", "sys.exit('why')", "targets.end()"])
def test_what_ends_the_program_is_an_error(objects: Make, way: str) -> None:
    made = objects(f"_imports_: {{sys: sys, targets: tests.config.targets}}\nvars: {{a: ${way}}}\n")
    kind, message = (
        (ModuleError, "vars::a` ends the program") if "targets" in way else (ConfigError, "fails: SystemExit")
    )
    with pytest.raises(kind, match=message):
        made.get("vars::a")


@pytest.mark.parametrize(
    "target", ["builtins.exit", "sys.exit", "tests.config.targets.end", "tests.config.targets.stop"]
)
def test_a_target_that_ends_the_program_is_an_error(objects: Make, target: str) -> None:
    made = objects(f"vars: {{a: {{_target_: {target}}}}}\n")
    with pytest.raises(ModuleError, match=f"`{target}` ends the program") as caught:
        made.get("vars::a")
    assert not isinstance(caught.value.__cause__, Exception)


def test_a_signal_handler_of_the_users_ends_the_program(objects: Make) -> None:
    with pytest.raises(SystemExit, match="143"):
        objects("vars: {a: {_target_: sys.exit, _args_: [143]}}\n").get("vars::a")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{_target_: builtins.int, _args_: [x]}", "vars::a: builtins.int: invalid literal for int() with base 10: 'x'"),
        (
            "{_target_: fractions.Fraction, _args_: [x]}",
            "vars::a: fractions.Fraction: Invalid literal for Fraction: 'x'",
        ),
        (
            "{_target_: json.loads, _args_: ['{'], cls: '$__import__(\"json\").JSONDecoder'}",
            "vars::a: json.loads: Expecting property name",
        ),
        ("'$os.environ[\"LIGHTER_NO_SUCH\"]'", "vars::a: this expression fails: KeyError: 'LIGHTER_NO_SUCH'"),
        ("'$open(\"no_such_file\")'", "vars::a: this expression fails: FileNotFoundError"),
        ("'$\"%9999999999999d\" % 1'", "vars::a: this expression fails: MemoryError"),
        ("'$\"x\".ljust(10 ** 13)'", "vars::a: this expression fails: MemoryError"),
        ("'$[0] * 10 ** 18'", "vars::a: this expression fails: MemoryError"),
        ("{_target_: tests.config.targets.fail, kind: '$10 ** 5000 / 0.5'}", "vars::a::kind: this expression fails"),
    ],
)
def test_what_a_library_refuses_is_the_configs_mistake(objects: Make, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        objects(f"_imports_: {{os: os}}\nvars: {{a: {text}}}\n").get("vars::a")
    assert message in str(caught.value).splitlines()[0]
    assert str(caught.value).startswith("c.yaml:3:")


@pytest.mark.parametrize(
    ("text", "kind", "note"),
    [
        ("{_target_: tests.config.targets.Failing}", targets.OwnError, "calling tests.config.targets.Failing()"),
        (
            "{_target_: tests.config.targets.Failing, kind: type}",
            TypeError,
            "tests.config.targets.Failing(kind='type')",
        ),
        (
            "{_target_: tests.config.targets.Failing, kind: name}",
            NameError,
            "tests.config.targets.Failing(kind='name')",
        ),
        ("{_target_: tests.config.targets.Failing, _args_: [x]}", ValueError, "tests.config.targets.Failing('x')"),
        ("{_target_: tests.config.targets.fail}", targets.OwnError, "calling tests.config.targets.fail()"),
        ("{_target_: tests.config.broken_module.X}", ModuleNotFoundError, "calling tests.config.broken_module.X()"),
        ("'$targets.fail(\"name\")'", NameError, "was made"),
        ("'$targets.fail(\"type\")'", TypeError, "was made"),
    ],
)
def test_the_users_errors_stay_what_they_are(objects: Make, text: str, kind: type, note: str) -> None:
    made = objects(f"_imports_: {{targets: tests.config.targets}}\nvars: {{b: {{x: '@vars::a'}}, a: {text}}}\n")
    with pytest.raises(kind) as caught:
        made.get("vars::b")
    (found,) = caught.value.__notes__
    assert found.startswith("while `vars::a` (c.yaml:3:31) was made")
    assert found.endswith(note)


def test_the_users_traceback_is_short_and_whole(objects: Make) -> None:
    made = objects("vars: {a: {_target_: tests.config.targets.Failing, kind: context}}\n")
    with pytest.raises(targets.OwnError) as caught:
        made.get("vars::a")
    shown = "".join(traceback.format_exception(caught.value))
    assert "sparkwheel" not in shown
    assert "KeyError: 'first'" in shown
    assert "targets.py" in shown


def test_imports_that_fail(objects: Make) -> None:
    with pytest.raises(ConfigError) as caught:
        objects("_imports_:\n  a: no_such_package\n  b: math.pie\n  ok: math\n")
    assert [str(problem).splitlines()[0] for problem in caught.value.problems] == [
        "c.yaml:3:6: _imports_::a: `no_such_package` cannot be imported: No module named 'no_such_package'",
        "c.yaml:4:6: _imports_::b: `math` has no `pie`",
    ]
    with pytest.raises(ModuleNotFoundError) as broken:
        objects("_imports_: {x: tests.config.broken_module}\n")
    assert broken.value.__notes__ == [
        "while `tests.config.broken_module` was imported for `_imports_::x` (c.yaml:2:16)"
    ]


@pytest.mark.slow
def test_many_expressions_are_resolved_in_linear_work(objects: Make) -> None:
    def work(count: int) -> int:
        made = objects(
            "vars:\n  x: 1\n"
            + "".join(f"  k{i}: {{_target_: builtins.dict, a: '$@vars::x + {i}'}}\n" for i in range(count))
        )
        return calls(made.get, "vars")

    assert work(3_000) < 10.5 * work(300)


def test_objects_travel_to_another_process_with_their_networks(objects: Make) -> None:
    here = objects(
        "_imports_: {math: math}\n"
        "vars: {a: {_target_: torch.nn.Identity}, b: $math.floor(2.5), c: '@vars::a', d: '$@vars::b + 1',"
        " data: {_target_: collections.Counter}}\n"
    )
    made, data = here.get("vars::a"), here.get("vars::data")
    there, same, other = pickle.loads(pickle.dumps((here, made, data)))
    assert there.get("vars::c") is same, "a copied optimizer trains the copied network"
    assert there.get("vars::data") is not other, "and does not bring the data along"
    assert there.get("vars::d") == 3
    assert copy.deepcopy(here).get("vars::d") == 3
