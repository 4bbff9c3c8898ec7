"""The schema of whole configs: it marks nothing that the check accepts, and mistakes where a schema can."""

from __future__ import annotations

import json
import re
import shutil
import sys
import time
from pathlib import Path

import pytest

from lighter.config import examine
from lighter.config.problems import ERROR
from lighter.config.safe import SafeMode
from lighter.editor.schema import make_schema
from lighter.errors import ConfigError
from tests.config import corpus
from tests.test_docs import CONFIGURATION, PAGES, QUICKSTART, ROOT, blocks, write_files

jsonschema = pytest.importorskip("jsonschema")

from tests.editor.marks import made, marks, marks_in  # noqa: E402

EXAMPLES = sorted((ROOT / "examples").glob("*/*.yaml"))
WITH_CONFIGS = [page for page in PAGES if any(block.language == "yaml" for block in blocks(page))]


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """A working directory, whose modules are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv("LIGHTER_PROJECT", raising=False)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.split(".")[0] in ("digits", "gan", "parts", "project"):
            del sys.modules[name]


@pytest.fixture
def bases(desk):
    """The good configs of the check's corpus."""
    for name in ("good.yaml", "system.yaml"):
        shutil.copy(corpus.HERE / "bad" / name, desk)
    return desk


def test_the_examples_were_found():
    assert len(EXAMPLES) >= 10
    assert len(WITH_CONFIGS) >= 8


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_no_example_is_marked(path, desk):
    schema = made([str(path)])
    jsonschema.Draft202012Validator.check_schema(schema.schema)
    assert not schema.problems
    assert marks(schema) == []


@pytest.mark.parametrize("page", WITH_CONFIGS, ids=lambda page: page.name)
def test_no_snippet_of_the_docs_is_marked(page, desk):
    for source in (QUICKSTART, CONFIGURATION, page):
        write_files(source, desk)
    for block in [block for block in blocks(page) if block.language == "yaml" and (block.is_whole or not block.file)]:
        inputs = [block.file]
        if not block.file:
            Path("fragment.yaml").write_text(block.text, encoding="utf-8")
            is_system = re.search("^system:", block.text, re.MULTILINE) and Path("system.yaml").exists()
            inputs = ["system.yaml" if is_system else "digits.yaml", "fragment.yaml"]
        found = marks(made(inputs))
        # A fragment is for a config of its page: over another one, the check may find problems.
        wrong = found and [problem for problem in corpus.found_in(inputs, None) if problem.severity == ERROR]
        assert not found or (wrong and not block.file), f"line {block.line}: {found}"


def test_the_schema_of_an_example_is_small_and_soon_made(desk):
    path = str(ROOT / "examples/digits/config.yaml")
    made([path])  # the imports
    start = time.process_time()
    schema = made([path]).schema
    assert time.process_time() - start < 2.0
    assert len(json.dumps(schema, indent=1)) < 300_000


# The others are what JSON cannot say: relations between values, references to nothing, names that lead nowhere.
MARKED = {"sections": 34, "targets": 42, "trainer": 9, "stages": 6, "many": 4}


@pytest.mark.slow
@pytest.mark.parametrize("name", MARKED)
def test_planted_mistakes_are_marked(name, bases):
    cases = corpus.cases(corpus.HERE / "bad" / f"{name}.txt")
    marked = []
    for case in cases:
        case.write(bases)
        schema = readable(case.inputs)
        own = [file for file in schema.files if file in case.files] if schema is not None else []
        if schema is None:
            continue
        assert marks(schema, [file for file in schema.files if file not in own]) == [], case.name
        marked += [case.name] if own and marks(schema, own) else []
    assert len(marked) >= MARKED[name], (len(marked), marked)


def readable(inputs):
    """The schema; None of a config that cannot be read, or whose project is not there."""
    try:
        return made(inputs) if examine(inputs)[0] is not None else None
    except ConfigError:
        return None


GOOD = "_base_: good.yaml\n"
MISTAKES = {
    # a text laid over good.yaml, and the path that is marked
    "trianer: {max_epochs: 3}": "",
    "trainer: {max_epoch: 3}": "trainer",
    "trainer: {max_epochs: many}": "trainer::max_epochs",
    "trainer: {strategy: dpp}": "trainer::strategy",
    "trainer: {accumulate_grad_batches: 0}": "trainer::accumulate_grad_batches",
    "trainer: {logger: [tensorbord]}": "trainer::logger",
    "trainer: {'=precision': fp16}": "trainer::=precision",
    "trainer: {'=max_epoch': 3}": "trainer",
    "trianer::max_epochs: 3": "",
    "model: {optimizer: {lrr: 0.1}}": "model::optimizer",
    "model: {optimizer: {lr: fast}}": "model::optimizer::lr",
    "model: {optimizer: {betas: [0.9, all]}}": "model::optimizer::betas::1",
    "model: {optimizer: {_target_: torch.optim.Adam, amsgrad: maybe}}": "model::optimizer::amsgrad",
    "model: {optimizer: {_mode_: partial}}": "model::optimizer::_mode_",
    "model: {scheduler: {schedulerr: 3}}": "model::scheduler",
    "vars: {list: [{a: {_target_: torch.optim.Adam, lrr: 3}}]}": "vars::list::0::a",
    "args: {fit: {ckpt_pth: last}}": "args::fit",
    "run: {name: 5}": "run::name",
    "seed: 1.5": "seed",
    "experiment: {serach: {}}": "experiment",
    "report: {task: classify}": "report::task",
    "model: {'~optimizer': 5}": "model::~optimizer",
}
FINE = [
    "trainer: {max_epochs: 1_000, '=callbacks': [], '~devices': null, 'callbacks::0::patience': 3}",
    "model: {'=optimizer': {_target_: torch.optim.SGD, lr: 0.1, momentum: 0.9}, '~scheduler': null}",
    "model: {'=optimizer': '@vars::o', criterion: '%vars::c', network: $make()}",
    "model: {optimizer: {lr: '@vars::lr', _disabled_: true}, 'optimizer::betas': [0.9, 0.99]}",
    "model: {optimizer: {_target_: somewhere.Else, anything: {_target_: another.One, x: 3}}}",
    "model: {optimizer: {lr: null, betas: [0.9]}}",
    "model: {scheduler: {scheduler: {_target_: torch.optim.lr_scheduler.StepLR, step_size: 3}, interval: step}}",
    "trainer: {strategy: DDP, logger: [csv, {_target_: a.B}], accelerator: $name(), devices: '0, 1'}",
    "data: {split: {kind: plain, n: 3}}",
    "'~data': null",
    "'=trainer': {max_epochs: 3}",
    "'model::optimizer::lr': 3",
    "vars: {a: {_target_: torch.optim.Adam, lrr: 3, _disabled_: true}, n: job}\nrun: {name: '%vars::n'}",
    "_imports_: {~math: null, '=np': numpy}",
    "model: {optimizer: {lr: 0.000_1, eps: 1e-8, betas: '%vars::b'}}",
    "x-anchors: {a: &a {max_epochs: 3}}\ntrainer: {<<: *a}",
    "vars: {_imports_: 3, 1: 2, true: {a: b}}",
    "_imports_: {np: numpy}\nproject: .\nseed: 3\nargs: {test: {ckpt_path: best}}",
    "experiment: {seeds: 3, search: {space: {model::optimizer::lr: {from: 1, to: 2}}, where: [a < b]}}",
    "",
]


@pytest.fixture
def good(bases):
    Path("config.yaml").write_text(GOOD + "vars: {o: {_target_: torch.optim.Adam}}\n", encoding="utf-8")
    return made(["config.yaml"])


def test_mistakes_in_one_layer_are_marked_at_their_places(good):
    assert {text: [mark.path for mark in marks_in(good, text)][:1] for text in MISTAKES} == {
        text: [path] for text, path in MISTAKES.items()
    }


def test_all_that_a_layer_may_be_is_not_marked(good):
    assert {text: found for text in FINE if (found := marks_in(good, text))} == {}


def test_a_file_that_is_a_whole_config_says_each_value_itself(bases):
    text = Path("good.yaml").read_text(encoding="utf-8")
    whole = made(["good.yaml"])
    assert marks_in(whole, text) == []
    for value in ("null", "[0.9]", "[0.9, 0.99, 0.999]", "{a: 3}"):
        config = f"model: {{optimizer: {{_target_: torch.optim.Adam, betas: {value}}}}}"
        path = "model::optimizer::betas"
        assert [mark.path for mark in marks_in(whole, config)] == [path], value


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        ("[3, 5, false]", None),
        ("['@vars::a', 5]", None),
        ("[{_target_: a.b, _disabled_: true}, 3, 5, false, null, null]", None),
        ("'@vars::list'", None),
        ("[3, five]", "vars::l::_args_::1"),
        ("[3, 5, false, null, null, 6]", "vars::l::_args_"),
        ("5", "vars::l::_args_"),
    ],
)
def test_positional_arguments_are_those_at_their_positions(arguments, path, bases):
    text = Path("good.yaml").read_text(encoding="utf-8").replace("vars:\n", "vars:\n  l: {_target_: torch.nn.Linear}\n")
    Path("config.yaml").write_text(text, encoding="utf-8")
    whole = made(["config.yaml"])
    marked = marks_in(whole, f"vars: {{l: {{_target_: torch.nn.Linear, _args_: {arguments}}}}}")
    assert [mark.path for mark in marked] == ([path] if path else [])


def test_a_layer_between_may_have_the_arguments_of_a_target_that_is_replaced(bases):
    Path("below.yaml").write_text("_base_: good.yaml\nmodel: {optimizer: {weight_decay: 0.1, amsgrad: true}}\n")
    Path("top.yaml").write_text("_base_: below.yaml\nmodel: {=optimizer: {_target_: torch.optim.SGD, lr: 0.1}}\n")
    schema = made(["top.yaml"])
    assert [Path(file).name for file in schema.files] == ["good.yaml", "below.yaml", "top.yaml"]
    assert marks(schema) == []
    lrr = "model: {=optimizer: {_target_: torch.optim.SGD, lrr: 0.1}}"
    assert [mark.path for mark in marks_in(schema, lrr)] == ["model::=optimizer"]


def test_what_cannot_be_imported_has_no_arguments(bases):
    text = "_base_: good.yaml\nvars: {a: {_target_: nowhere.Thing, x: 3}}\ntrainer: {max_epoch: 3}\n"
    Path("config.yaml").write_text(text, encoding="utf-8")
    schema = made(["config.yaml"])
    assert ["nowhere.Thing" in str(problem) for problem in schema.problems] == [True]
    assert [mark.path for mark in marks(schema)] == ["trainer"]


def test_arguments_have_their_texts_types_choices_and_defaults(good):
    adam = good.schema["$defs"]["torch.optim.Adam"]["properties"]
    assert adam["lr"]["default"] == 0.001
    assert adam["lr"]["description"].startswith("float or Tensor, default 0.001\n\nlearning rate")
    assert adam["_target_"]["description"] == "torch.optim.Adam\n\nImplements Adam algorithm."
    trainer = good.schema["$defs"]["lighter.Trainer"]["properties"]
    assert trainer["on_non_finite"]["anyOf"][0]["enum"] == ["stop", "skip", "continue"]
    assert "ddp" in trainer["strategy"]["allOf"][1]["anyOf"][0]["enum"]
    sections = good.schema["properties"]
    assert all(section.get("description") for section in sections.values())
    assert all(key.get("description") for section in ("run", "report", "experiment") for key in
               sections[section]["properties"].values())  # fmt: skip


def test_in_safe_mode_nothing_is_imported_that_is_not_allowed(bases):
    Path("mine.py").write_text("raise SystemError('imported')\n", encoding="utf-8")
    Path("config.yaml").write_text(GOOD.replace("good", "safe") + "vars: {a: {_target_: mine.Thing, x: 3}}\n")
    shutil.copy("good.yaml", "safe.yaml")
    config, _ = examine(["config.yaml"], SafeMode())
    assert config is not None
    schema = make_schema(config, ["config.yaml"])
    assert "mine" not in sys.modules
    assert "torch.optim.Adam" in schema.schema["$defs"]
    assert "mine.Thing" not in schema.schema["$defs"]
    assert any("mine.Thing" in str(problem) for problem in schema.problems)
