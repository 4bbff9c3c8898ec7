"""The schema in a real editor's hands: yaml-language-server completes, explains and marks by it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("jsonschema")
from tests import traces
from tests.editor.marks import made
from tests.editor.yaml_server import YamlServer, find_server
from tests.test_docs import ROOT

SERVER = find_server()
pytestmark = pytest.mark.skipif(
    SERVER is None, reason="no yaml-language-server: npm install --prefix .venv/node yaml-language-server@1.25.0"
)
EXAMPLES = {config.parent.name: config for config in sorted((ROOT / "examples").glob("*/config.yaml"))}
HEADER = "# yaml-language-server: $schema={}.schema.json\n"


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """Examples beside their schemas, each with the line that names its schema."""
    folder: Path = tmp_path_factory.mktemp("editor")
    before = traces.take()
    for name, config in EXAMPLES.items():
        schema = made([str(config)]).schema
        (folder / f"{name}.schema.json").write_text(json.dumps(schema), encoding="utf-8")
        text = HEADER.format(name) + config.read_text(encoding="utf-8")
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    traces.put_back(before)  # the projects of the examples
    return folder


@pytest.fixture(scope="module")
def server(desk):
    assert SERVER is not None
    server = YamlServer(SERVER, desk)
    yield server
    server.stop()


@pytest.mark.parametrize("name", EXAMPLES)
def test_no_example_is_marked(name, server, desk):
    assert server.diagnostics(desk / f"{name}.yaml") == []


def test_the_examples_were_found():
    assert len(EXAMPLES) >= 10


def test_mistakes_are_marked_at_their_places(server, desk):
    file = desk / "digits.yaml"
    text = file.read_text().replace("    lr: 2e-3\n", "    lr: fast\n    weight_deacy: 3\n")
    text = text.replace("  accelerator: cpu\n", "  precision: fp16\n  mxa: 3\n  strategy: dpp\n")
    lines = text.splitlines()
    marked = {lines[mark["range"]["start"]["line"]].strip(): mark["message"] for mark in server.diagnostics(file, text)}
    assert marked.pop("strategy: dpp").startswith('Value is not accepted. Valid values: "auto", "ddp"')
    assert marked.pop("precision: fp16").startswith("`precision` is 64, 32, 16")
    assert marked == {
        "lr: fast": "`lr` is float or Tensor",
        "weight_deacy: 3": "Property weight_deacy is not allowed.",
        "mxa: 3": "Property mxa is not allowed.",
    }


def test_numbers_references_and_operators_are_not_marked(server, desk):
    file = desk / "digits.yaml"
    text = file.read_text().replace(
        "    lr: 2e-3\n", "    lr: $2 * 1e-3\n    =eps: 1_0.0\n    ~betas:\n    weight_decay: 1\n"
    )
    text = text.replace(
        "max_epochs: 10\n", "max_epochs: 1_0\n  devices: '@vars::classes'\n  callbacks::0::path: a.csv\n"
    )
    assert server.diagnostics(file, text) == []


def at(text: str, line: str, added: str) -> tuple[str, int, int]:
    """The text with a line more, after the first that begins so, and where it ends."""
    lines = text.splitlines()
    number = next(number for number, each in enumerate(lines) if each.startswith(line)) + 1
    return "\n".join([*lines[:number], added, *lines[number:]]), number, len(added)


@pytest.mark.parametrize(
    ("line", "added", "offered"),
    [
        ("    lr: 2e-3", "    ", {"weight_decay", "betas", "_mode_"}),
        ("    lr: 2e-3", "    we", {"weight_decay"}),
        ("    batch_size: 32", "    ", {"num_workers", "drop_last"}),
        ("  max_epochs: 10", "  ", {"precision", "exact_resume", "devices"}),
        ("  max_epochs: 10", "  strategy: ", {"auto", "ddp", "fsdp"}),
        ("  max_epochs: 10", "  on_non_finite: ", {"stop", "skip", "continue"}),
        ("  max_epochs: 10", "  logger: ", {"csv", "tensorboard"}),
        ("    - {_target_: lighter.callbacks.CsvWriter", "    - _target_: ", {"lighter.callbacks.CsvWriter"}),
        ("seed: 1", "ru", {"run", "experiment", "args"}),
    ],
)
def test_arguments_choices_and_sections_are_offered(line, added, offered, server, desk):
    file = desk / "digits.yaml"
    text, number, column = at(file.read_text(), line, added)
    server.diagnostics(file, text)
    completions = server.completions(file, number, column)
    assert offered <= set(completions)
    assert not {"lr", "max_epochs", "seed"} & set(completions), "what is there already is not offered"


def test_a_completion_has_the_default_and_the_text_of_its_argument(server, desk):
    file = desk / "digits.yaml"
    text, number, column = at(file.read_text(), "    lr: 2e-3", "    ")
    server.diagnostics(file, text)
    completion = server.completions(file, number, column)["weight_decay"]
    assert completion["insertText"] == "weight_decay: ${1:0.01}"
    assert completion["documentation"].startswith("float, default 0.01\n\nweight decay coefficient")


@pytest.mark.parametrize(
    ("line", "word", "text"),
    [
        ("    lr: 2e-3", "lr", "learning rate"),
        ("    _target_: torch.optim.AdamW", "torch", "Implements AdamW algorithm"),
        ("    batch_size: 32", "batch_size", "how many samples per batch"),
        ("trainer:", "trainer", "Arguments of the trainer"),
        ("  optimizer:", "optimizer", "in a config, its definition"),
        ("  max_epochs: 10", "max_epochs", "Stop training once this number of epochs"),
    ],
)
def test_texts_are_shown(line, word, text, server, desk):
    file = desk / "digits.yaml"
    server.diagnostics(file)
    lines = file.read_text().splitlines()
    number = next(number for number, each in enumerate(lines) if each.startswith(line))
    assert text in server.hover(file, number, lines[number].index(word) + 1)
