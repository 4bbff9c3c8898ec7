"""Configs of Hydra: how they are composed, which was recorded from Hydra 1.3, and what becomes of each value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lighter.convert.gaps import Gaps
from lighter.convert.hydra_compose import compose
from lighter.errors import ConfigError
from tests.convert.work import from_text, places, project, run

GROUPS = {
    "main.yaml": """\
defaults:
  - db: mysql
  - server@backend: apache
  - server@other.place: apache
  - optional nothing: here
  - model: net
  - override /model/loss: l1
x: 1
db: {port: 99}
""",
    "top.yaml": "defaults:\n  - main\n  - experiment: null\n  - _self_\ny: 2\n",
    "many.yaml": "defaults:\n  - _self_\n  - db: [mysql, pg]\n  - model: net\nx: 3\n",
    "named.yaml": "defaults:\n  - db: pg\n  - model: of_${db}\n",
    "db/mysql.yaml": "{driver: mysql, port: 1, user: me}",
    "db/pg.yaml": "{driver: pg}",
    "db/pkg.yaml": "# @package foo.bar\nz: 1\n",
    "server/apache.yaml": "defaults:\n  - inner: a\n  - /db@copy: mysql\nhost: h\n",
    "server/inner/a.yaml": "k: 1",
    "model/net.yaml": "defaults:\n  - loss: mse\n  - base\n  - _self_\n_target_: N\n",
    "model/of_pg.yaml": "_target_: P",
    "model/base.yaml": "width: 3",
    "model/loss/l1.yaml": "_target_: L1",
    "model/loss/mse.yaml": "_target_: MSE",
    "experiment/e.yaml": """\
# @package _global_
defaults:
  - override /db: pg
  - override /model/loss: mse
x: 5
""",
}
MYSQL: dict[str, Any] = {"driver": "mysql", "port": 1, "user": "me"}
SERVER: dict[str, Any] = {"inner": {"k": 1}, "copy": MYSQL, "host": "h"}
MAIN: dict[str, Any] = {
    "db": {"driver": "mysql", "port": 99, "user": "me"},
    "backend": SERVER,
    "other": {"place": SERVER},
    "model": {"loss": {"_target_": "L1"}, "width": 3, "_target_": "N"},
    "x": 1,
}
COMPOSED = {
    ("main",): MAIN,
    ("main", "db=pg"): {**MAIN, "db": {"driver": "pg", "port": 99}},
    ("main", "db=pkg"): {**MAIN, "foo": {"bar": {"z": 1}}, "db": {"port": 99}},
    ("main", "db@backend.copy=pg"): {**MAIN, "backend": {**SERVER, "copy": {"driver": "pg"}}},
    ("main", "model/loss=mse"): {**MAIN, "model": {**MAIN["model"], "loss": {"_target_": "MSE"}}},
    ("main", "+experiment=e"): {**MAIN, "db": {"driver": "pg", "port": 99}, "x": 5},
    ("main", "x=7", "+db.deep.er=[1, a]"): {**MAIN, "x": 7, "db": {**MAIN["db"], "deep": {"er": [1, "a"]}}},
    ("top", "experiment=e"): {
        **MAIN,
        "db": {"driver": "pg", "port": 99},
        "model": {**MAIN["model"], "loss": {"_target_": "MSE"}},
        "x": 5,
        "y": 2,
    },
    ("many",): {
        "x": 3,
        "db": {"driver": "pg", "port": 1, "user": "me"},
        "model": {"loss": {"_target_": "MSE"}, "width": 3, "_target_": "N"},
    },
    ("named",): {"db": {"driver": "pg"}, "model": {"_target_": "P"}},
}


COMPOSED |= {
    ("main", "~db.user", "~backend.inner.k"): {
        **MAIN,
        "db": {"driver": "mysql", "port": 99},
        "backend": {**SERVER, "inner": {}},
    },
    ("main", "++x=8", "++y=9"): {**MAIN, "x": 8, "y": 9},
    ("main", "~db.user=me", "+backend={y: 1}"): {
        **MAIN,
        "db": {"driver": "mysql", "port": 99},
        "backend": {**SERVER, "y": 1},
    },
    ("main", "~db"): {**MAIN, "db": {"port": 99}},
}


@pytest.fixture
def groups(own_place: Path) -> Path:
    for name, text in GROUPS.items():
        file = own_place / "conf" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return own_place / "conf"


@pytest.mark.parametrize("words", COMPOSED, ids=" ".join)
def test_it_is_composed_as_hydra_does(groups: Path, words: tuple[str, ...]) -> None:
    gaps = Gaps()
    assert compose([groups / f"{words[0]}.yaml"], words[1:], gaps).plain() == COMPOSED[words]
    assert not gaps


WRONG_WORDS = {
    "experimen=e": "experimen: there is no `experimen` here",
    "nn=5": "To add it, write `+nn=5`.",
    "db.drivr=x": "Did you mean `driver`?",
    "~db.nothing": "db.nothing: there is no `nothing` here",
    "+x=2": "To change it, write `x=2`.",
    "~x=2": "this is 1, and not 2: it is not deleted",
    "=5": "this names no key",
    "+=5": "this names no key",
    "db=mysq": "`db` has no option `mysq`",
    "model/loss=l3": "There is: l1, mse.",
    "model=../../../cli": "`model` has no option `../../../cli`",
    "../conf/db=pg": "this names no key",
}


@pytest.mark.parametrize(("word", "said"), WRONG_WORDS.items(), ids=str)
def test_a_wrong_override_is_refused(groups: Path, word: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        compose([groups / "main.yaml"], [word], Gaps())
    assert said in str(refused.value)


def test_a_defaults_list_does_not_lead_out_of_the_folder(groups: Path) -> None:
    (groups / "out.yaml").write_text("defaults: [../x]\n")
    (groups.parent / "x.yaml").write_text("secret: 1\n")
    gaps = Gaps()
    assert compose([groups / "out.yaml"], [], gaps).plain() == {}
    assert len(gaps) == 1


@pytest.mark.filterwarnings("ignore")  # the primary configs have no `_self_`
@pytest.mark.parametrize("words", COMPOSED, ids=" ".join)
def test_hydra_composes_it_so(groups: Path, words: tuple[str, ...]) -> None:
    hydra = pytest.importorskip("hydra")
    omegaconf = pytest.importorskip("omegaconf")
    with hydra.initialize_config_dir(str(groups), version_base="1.3"):
        theirs = hydra.compose(words[0], overrides=[*words[1:]])
    assert omegaconf.OmegaConf.to_container(theirs, resolve=False) == COMPOSED[words]


def test_files_are_choices_too(groups: Path) -> None:
    by_file = compose([groups / "top.yaml", groups / "experiment/e.yaml"], [], Gaps())
    assert by_file.plain() == COMPOSED["top", "experiment=e"]


def test_a_group_that_is_not_there(groups: Path) -> None:
    (groups / "main.yaml").write_text("defaults:\n  - db: oracle\n  - optional db: none\n  - model: ???\nx: 1\n")
    gaps = Gaps()
    assert compose([groups / "main.yaml"], [], gaps).plain() == {"x": 1}
    assert places(gaps) == [
        (f"{groups}/main.yaml:4:5", "defaults.model"),
        (f"{groups}/main.yaml:2:5", "defaults"),
    ]


def test_defaults_lists_in_a_circle(groups: Path) -> None:
    (groups / "main.yaml").write_text("defaults:\n  - main\n")
    with pytest.raises(ConfigError, match="contain each other"):
        compose([groups / "main.yaml"], [], Gaps())


def model_of(text: str, folder: Path) -> Any:
    converted = from_text("hydra", f"model:\n  _target_: a.B\n  {text}\nn: 3\npaths: {{root: /r}}\n", folder=folder)
    return converted.tree.plain()["model"], converted


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("x: ${n}", "@vars::n"),
        ("x: run-${n}", "$f'run-{@vars::n}'"),
        ('x: "it\'s ${n} {}"', "$f'it\\'s {@vars::n} {{}}'"),
        ("x: ${paths.root}", "@vars::paths::root"),
        ("x: ${paths}", "%vars::paths"),
        ('x: {y: 1, z: "${.y}"}', {"y": 1, "z": "@model::x::y"}),
        ('x: {y: {z: "${..._target_}"}}', {"y": {"z": "@model::_target_"}}),
        ('x: [1, "${model.x[0]}"]', [1, "@model::x::0"]),
        ("x: ${oc.env:HOME}", '$os.environ["HOME"]'),
        ("x: ${oc.env:SIZE,4}", '$os.environ.get("SIZE", "4")'),
        ("x: ${oc.env:SIZE,null}", '$os.environ.get("SIZE")'),
        ("x: ${oc.env:A,${oc.env:B}}", '$os.environ.get("A", os.environ["B"])'),
        ("x: ${oc.env:A,${paths.root}/b}", '$os.environ.get("A", str(@vars::paths::root) + "/b")'),
        ("x: ${hydra:runtime.output_dir}/x", "$f'{@run::folder}/x'"),
        ("x: ${oc.select:n,1}", "@vars::n"),
        ("x: ${oc.select:m,one}", '$"one"'),
        ("x: '${oc.select:m,0.1}'", 0.1),
        ("x: '${oc.select:m,1e-05}'", 1e-05),
        ("x: '${oc.select:m,true}'", True),
        ("x: '${oc.select:m,null}'", None),
        ("x: '${oc.select:m,[1, a]}'", "$[1, 'a']"),
        ("x: '${oc.env:A}-${n}'", '$str(os.environ["A"]) + "-" + str(@vars::n)'),
        ("x: 'é-${oc.env:A,b}'", '$"é-" + str(os.environ.get("A", "b"))'),
        ("x: \\${n}", "$'${n}'"),
        ("x: '@n'", "$'@n'"),
        ("x: on", True),
        ("x: {_target_: a.C, _partial_: true}", {"_target_": "a.C", "_mode_": "callable"}),
        ("x: {_target_: a.C, _partial_: false, _args_: [1]}", {"_target_": "a.C", "_args_": [1]}),
        ("x: {_target_: hydra.utils.get_method, path: a.f}", {"_target_": "a.f", "_mode_": "callable"}),
        ("x: {_target_: a.C, _convert_: all}", {"_target_": "a.C"}),
        ('x: {_target_: "${.y}", y: "${model._target_}"}', {"_target_": "a.B", "y": "@model::_target_"}),
    ],
)
def test_values(own_place: Path, written: str, expected: Any) -> None:
    model, converted = model_of(written, own_place)
    assert model["x"] == expected
    assert not [gap for gap in converted.left if gap.path != "n"]


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("x: ???", "a value is to be given"),
        ("x: ${nothing}", "`${nothing}`: it refers to nothing"),
        ("x: ${hydra:job.num}", "`${hydra:job.num}`: this resolver is unknown"),
        ("x: ${sum:1,2}", "`${sum:1,2}`: this resolver is unknown"),
        ("x: ${a.${n}}", "`${a.${n}}`: what it refers to is not"),
        ("x: {_target_: a.C, _recursive_: false}", "`_recursive_: false`"),
        ("x: {_target_: torch.optim.Adam}", "torch.optim.Adam without `_partial_`"),
    ],
)
def test_gaps_of_values(own_place: Path, written: str, found: str) -> None:
    model, converted = model_of(written, own_place)
    adam = {"_target_": "torch.optim.Adam", "_mode_": "callable"}
    assert model["x"] in (None, {"_target_": "a.C"}, adam)
    gaps = [gap for gap in converted.left if gap.path.startswith("model.x")]
    assert [found in gap.found for gap in gaps] == [True]
    assert str(gaps[0].origin).startswith(f"{own_place}/a.yaml:3:")


def test_sections_by_other_names(own_place: Path) -> None:
    text = """\
datamodule: {_target_: a.D}
lit_module: {_target_: a.M, size: "${datamodule.size}", first: "${callbacks.one.x}"}
callbacks: {one: {_target_: a.C, x: 1}, off: null}
logger: {_target_: a.L}
trainer: {_target_: my.Trainer, max_epochs: 2}
ckpt_path: last.ckpt
losses: {_target_: a.Loss}
"""
    converted = from_text("hydra", text.replace("{_target_: a.D}", "{_target_: a.D, size: 2}"), folder=own_place)
    assert converted.tree.plain() == {
        "vars": {"losses": {"_target_": "a.Loss"}},
        "model": {"_target_": "a.M", "size": "@data::size", "first": "@trainer::callbacks::0::x"},
        "data": {"_target_": "a.D", "size": 2},
        "trainer": {
            "_target_": "my.Trainer",
            "max_epochs": 2,
            "callbacks": [{"_target_": "a.C", "x": 1}],
            "logger": [{"_target_": "a.L"}],
        },
        "args": {"fit": {"ckpt_path": "last.ckpt"}},
    }
    assert [gap.path for gap in converted.left] == ["losses"]


def test_callbacks_that_the_trainer_names(own_place: Path) -> None:
    text = """\
model: {_target_: a.M}
callbacks: {one: {_target_: a.C}, two: {_target_: a.E}}
trainer: {callbacks: ["${callbacks.two}"]}
"""
    tree = from_text("hydra", text, folder=own_place).tree.plain()
    assert tree["trainer"]["callbacks"] == ["%vars::callbacks::two"]
    assert tree["vars"] == {"callbacks": {"two": {"_target_": "a.E"}}}


def test_a_module_that_the_script_makes(own_place: Path) -> None:
    converted = from_text("hydra", "model: {width: 3}\ntrainer: {max_epochs: 1}\n", folder=own_place)
    assert converted.tree.plain()["model"] == {"_target_": "WRITE.THE.CLASS", "width": 3}
    assert places(converted.left) == [(f"{own_place}/a.yaml:1:1", "model")]
    converted = from_text("hydra", "trainer: {max_epochs: 1}\n", folder=own_place)
    assert places(converted.left) == [(f"{own_place}/a.yaml:1:1", "model")]


def test_a_list_with_something_reached_inside_is_kept_whole(own_place: Path) -> None:
    text = "model: {_target_: a.B, first: '${opts[0]}'}\nopts: [1, '${more.x}']\nmore: {x: 2, y: 3}\n"
    tree = from_text("hydra", text, folder=own_place).tree.plain()
    assert tree["model"]["first"] == "@vars::opts::0"
    assert tree["vars"] == {"opts": [1, "@vars::more::x"], "more": {"x": 2}}


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("interval(0.1, 1)", {"from": 0.1, "to": 1}),
        ("tag(log, interval(1e-5, 1))", {"from": 1e-5, "to": 1, "scale": "log"}),
        ("choice(small, large)", ["small", "large"]),
        ("range(2, 8, 2)", [2, 4, 6]),
        ("1,2,3", [1, 2, 3]),
        ("{type: float, low: 0.1, high: 1, log: true}", {"from": 0.1, "to": 1, "scale": "log"}),
        ("range(3)", [0, 1, 2]),
        ("range(1, 10, 0)", None),
        ("range()", None),
        ("range(1, 2, 3, 4)", None),
        ("range(1, 999999999)", None),
        ("range(5, 1)", None),
        ("glob(*)", None),
        ("choice([1], [2])", None),
    ],
)
def test_a_search(own_place: Path, written: str, expected: Any) -> None:
    value = written if written.startswith("{") else f'"{written}"'
    text = f"""\
model: {{_target_: a.M, x: 1}}
optimized_metric: val/loss
hydra:
  sweeper:
    n_trials: 9
    params:
      model.x: {value}
      model: small,large
"""
    converted = from_text("hydra", text, folder=own_place)
    left = ["hydra.sweeper.params.model"]
    if expected is None:
        assert "experiment" not in converted.tree.plain()
        assert [gap.path for gap in converted.left] == ["hydra.sweeper.params.model.x", *left]
        return
    assert converted.tree.plain()["experiment"] == {
        "objective": "min val/loss",
        "search": {"space": {"model::x": expected}, "method": "tpe", "trials": 9},
    }
    assert [gap.path for gap in converted.left] == left


def test_a_composed_config(own_place: Path) -> None:
    """What Hydra saves in `.hydra/config.yaml`: without a defaults list."""
    project("birds", own_place)
    tree = compose([Path("configs/train.yaml")], ["experiment=owls"], Gaps())
    tree.value.pop("hydra")
    from lighter.config import yaml

    Path("saved.yaml").write_text(yaml.dump(tree.plain()))
    whole, saved = (
        run("convert", *words).stdout.partition("\n\n")[2]
        for words in (("configs/train.yaml", "experiment=owls"), ("saved.yaml",))
    )
    without_comments = [line.partition("  #")[0] for line in whole.splitlines() if not line.lstrip().startswith("#")]
    assert saved.splitlines() == without_comments
