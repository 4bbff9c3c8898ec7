"""`--json` of every command: one document on stdout, of the schema that ships with the package."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator

from lighter.cli import cli
from lighter.cli.json_schemas import names, schema_of
from lighter.config.yaml import dump
from lighter.errors import LighterError
from tests.commands import TESTS, run_command
from tests.experiments.jobs import make_experiment
from tests.results.jobs import BASE, OURS, make_fits

DOCS = Path(__file__).parents[2] / "docs" / "15-programs-and-agents.md"
# a script for a shell; servers whose protocol is JSON
SPEAKS_OTHERWISE = {"completion", "lsp", "mcp"}
RUN = "2026-01-02/10-00-00-base"


def commands(group: click.Group, *above: str) -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, *above, name)
        else:
            yield ".".join([*above, name]), command


def test_every_command_has_json_and_a_schema() -> None:
    with_json = {name for name, each in commands(cli) if any(option.name == "as_json" for option in each.params)}
    assert {name for name, _ in commands(cli)} - with_json == SPEAKS_OTHERWISE & {name for name, _ in commands(cli)}
    assert with_json | {"errors", "launch", "summary.memory"} == set(names())


@pytest.mark.parametrize("name", names())
def test_schemas_are_schemas(name: str) -> None:
    schema = json.loads(CliRunner().invoke(cli, ["schema", "--of", name]).stdout)
    Draft202012Validator.check_schema(schema)
    assert schema["$id"].startswith(f"urn:lighter:{name}:")
    assert f"`{name}`" in DOCS.read_text(), "the table of docs/15"


def test_error_codes_are_documented() -> None:
    from lighter.cli import json_errors

    def classes(of: type[LighterError]) -> Iterator[type[LighterError]]:
        yield of
        for each in of.__subclasses__():
            yield from classes(each)

    mine = [each.code for each in classes(LighterError) if each.__module__.startswith("lighter.")]
    others = [json_errors.USAGE, json_errors.FILE, json_errors.CODE, json_errors.STOPPED]
    text = DOCS.read_text()
    for code in {*mine, *others, json_errors.MEMBER, json_errors.REPEATED}:
        assert f"| `{code}` |" in text, code


def valid(name: str, text: str) -> Any:
    """Return a document, which its schema allows, and which has no key that the schema does not name."""
    document, schema = json.loads(text), schema_of(name)
    Draft202012Validator(schema).validate(document)
    if isinstance(document, dict) and name != "runs.show":
        assert set(document) <= {*schema["properties"], "errors"}
    return document


@pytest.fixture
def here(own_place: Path) -> Path:
    make_fits(own_place / "outputs", "base", BASE)
    make_fits(own_place / "outputs", "ours", OURS, hour=11)
    make_experiment(own_place / "outputs")
    (own_place / "c.yaml").write_text("trainer: {_target_: lighter.Trainer, max_epochs: 3}\nvars: {a: .inf}\n")
    (own_place / "lightning.yaml").write_text(
        "model: {class_path: my.Model}\ntrainer: {max_epochs: 3}\nckpt_path: null\n"
    )
    return own_place


@pytest.mark.parametrize(
    "words",
    [
        "runs.list",
        "runs.best val/loss/epoch",
        "runs.show last",
        "runs.diff base ours",
        "runs.tag last good",
        "runs.rm last --yes",
        "compare base ours",
        "report base -o page.html",
        "experiment.list",
        "experiment.status last",
        "experiment.best last",
        "experiment.stop last",
        "show c.yaml --origins",
        "why vars::a c.yaml vars::a=2",
        "check c.yaml --shape",
        "init new --from tabular",
        "convert lightning.yaml",
        "schema c.yaml -o c.json",
    ],
)
def test_documents(here: Path, words: str) -> None:
    """A name that stands for several runs is one of them; NaN and Inf are null."""
    name, *rest = words.split(" ")
    if name == "runs.diff":
        rest = [str(next(here.glob(f"outputs/*/*-{side}*"))) for side in rest]
    done = CliRunner().invoke(cli, [*name.split("."), *rest, "--json"])
    assert done.exit_code in (0, 1 if name == "convert" else 0, 2 if name == "check" else 0), done.output
    valid(name, done.stdout)


LOUD = """
import ctypes, os, subprocess, sys
print("python"); sys.__stdout__.write("original"); os.write(1, b"descriptor")
subprocess.run(["echo", "child"], check=True)
if os.name == "posix":
    ctypes.CDLL(None).puts(b"c")
from tests.jobs import mlp
"""


@pytest.fixture
def loud(config: dict[str, Any], own_place: Path) -> str:
    """A config whose code prints in all ways."""
    (own_place / "loud.py").write_text(LOUD)
    config["model"]["network"]["_target_"] = "loud.mlp"
    (own_place / "c.yaml").write_text(dump(config))
    return "c.yaml"


@pytest.mark.slow
@pytest.mark.parametrize("words", ["check c.yaml --json", "schema c.yaml"])
def test_stdout_has_the_json_alone(loud: str, words: str) -> None:
    done = run_command("lighter", *words.split(), environment=TESTS)
    json.loads(done.stdout)
    assert done.returncode == 0
    for said in ("python", "original", "descriptor", "child", "c\n"):
        assert said in done.stderr


@pytest.mark.long
def test_stages(loud: str) -> None:
    done = run_command("lighter", "fit", loud, "trainer::max_epochs=1", "--json", environment=TESTS)
    run = valid("fit", done.stdout)
    assert (done.returncode, run["exit_code"], run["status"], run["errors"]) == (0, 0, "finished", [])
    assert "val/loss/epoch" in run["metrics"]
    assert Path(run["path"]).is_dir()
    assert Path(run["checkpoints"]["last"]).is_file()
    for name, *rest in (["validate", loud], ["resume", "last", "trainer::max_epochs=2"], ["reproduce", run["id"]]):
        done = run_command("lighter", name, *rest, "--json", environment=TESTS)
        assert valid(name, done.stdout)["exit_code"] == done.returncode == 0, done.stderr
    broken = run_command("lighter", "fit", loud, "model::criterion=null", "--json", environment=TESTS)
    [error] = valid("fit", broken.stdout)["errors"]
    assert (broken.returncode, error["code"], error["type"]) == (1, "user-code", "TypeError")


def test_a_mistake_of_the_config(loud: str) -> None:
    done = CliRunner().invoke(cli, ["fit", "c.yaml", "trainer::max_epoch=3", "--json"])
    [error] = valid("errors", done.stdout)["errors"]
    assert done.exit_code == 2
    assert (error["code"], error["path"], error["nearest"]) == ("config", "trainer::max_epoch", "max_epochs")


@pytest.mark.parametrize(
    ("words", "code", "nearest"),
    [
        ("fit --json", "usage", None),
        ("fit c.yaml --weights-onyl --json", "usage", "--weights_only"),
        ("check c.yaml --stage tets --json", "usage", "test"),
        ("runs show nosuch --json", "run", None),
        ("runs lst --json", "usage", "list"),
        ("sumary c.yaml --json", "usage", "summary"),
        ("show nosuch.yaml --json", "config", "c.yaml"),
        ("compare base ours --json --checklist", "usage", None),
        ("schema --of fitt --json", "usage", "fit"),
    ],
)
def test_errors(own_place: Path, words: str, code: str, nearest: str | None) -> None:
    (own_place / "c.yaml").write_text("vars: {a: 1}\n")
    done = CliRunner().invoke(cli, words.split())
    document = valid("errors", done.stdout)
    assert (done.exit_code, document["exit_code"]) == (2, 2)
    assert (document["errors"][0]["code"], document["errors"][0]["nearest"]) == (code, nearest)
    assert done.stderr.strip(), "people read it too"


@pytest.mark.parametrize(
    ("words", "codes", "file"),
    [
        ("show nosuch.yaml", ("config", 2), "nosuch.yaml"),
        ("convert nosuch.yaml", ("config", 2), "nosuch.yaml"),
        (f"show {'x' * 300}.yaml", ("config", 2), "..."),
        ("schema c.yaml -o c.yaml/x.json", ("file", 2), "c.yaml/x.json"),
        ("convert old.yaml -o c.yaml/x.yaml", ("file", 2), "c.yaml/x.yaml"),
        ("init c.yaml/x", ("file", 2), "c.yaml/x"),
        ("report -o c.yaml/x.html", ("file", 2), "c.yaml/x.html"),
        ("report -o c.yaml", ("file", 2), "c.yaml"),
    ],
)
def test_errors_name_their_file(own_place: Path, words: str, codes: tuple[str, int], file: str) -> None:
    (own_place / "c.yaml").write_text("vars: {a: 1}\n")
    (own_place / "old.yaml").write_text("seed_everything: 1\ntrainer: {max_epochs: 3}\nmodel: {class_path: a.B}\n")
    (own_place / "outputs").mkdir()
    done = CliRunner().invoke(cli, [*words.split(), "--json"])
    [error] = valid("errors", done.stdout)["errors"]
    assert (error["code"], done.exit_code) == codes
    assert file in error["file"], error


def test_help_is_for_people() -> None:
    assert CliRunner().invoke(cli, ["fit", "--json", "--help"]).stdout.startswith("Usage: ")


def test_a_stage_prints_no_document_unless_asked_for(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from lighter.cli.run_document import give_run
    from lighter.files.run_folder import RunFolder

    with click.Context(cli):
        give_run("fit", RunFolder(next(here.glob("outputs/*/*-base"))))
    assert capsys.readouterr().out == ""
