"""What the editor shows of a text is what `lighter check` says of the file, on the same lines."""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lighter.config import yaml
from lighter.config.problems import Problem, Problems
from lighter.config.tree import Source
from lighter.editor.server.documents import Documents, Finding
from lighter.editor.server.layers import is_config
from lighter.editor.server.worker import answer
from tests.config import corpus

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*/*.yaml"))
CASES = [
    case
    for path in (corpus.HERE / "messages.txt", *sorted((corpus.HERE / "bad").glob("*.txt")))
    for case in corpus.cases(path)
    if case.inputs and case.inputs[0] == "config.yaml"
]
# Of these files nothing says that they are configs; of a part of one, the check says that there is no module.
NOT_RECOGNIZED = {
    *("empty file", "a list", "model without target", "model is text", "model is null"),
    *("system without a target", "special key misspelt"),
}


def mostly_long(cases: list[Any]) -> list[Any]:
    return [case if n % 12 == 0 else pytest.param(case, marks=pytest.mark.long) for n, case in enumerate(cases)]


def shown(documents: Documents, name: str) -> list[Finding]:
    """All that an editor shows of an open file, once the worker has answered."""
    path = Path(name).resolve()
    analysis = documents.read(path)
    if analysis is None:
        return []
    if analysis.is_readable:
        with documents.as_seen_from(analysis.root):
            second = answer(request(documents, name))["problems"]
        analysis.second = [Finding(**each) for each in second]
    return list(analysis.findings(trusted=True))


def request(documents: Documents, name: str) -> Any:
    texts = {str(path): text for path, text in documents.texts.items()}
    root = str(Path.cwd())
    every = {"do": "check", "root": root, "file": name, "texts": texts, "roots": [root], "safe": None}
    return {**every, "id": 1, "generation": "", "trusted": True}


def opened(name: str, text: str) -> Documents:
    documents = Documents([Path.cwd()], Path.cwd())
    documents.opened(Path(name).resolve(), text)
    return documents


def as_place(found: Finding | Problem) -> tuple[str | None, int, int, str, str]:
    if isinstance(found, Finding):
        name = Path(found.file).name if found.file else None
        return name, found.line if name else 0, found.column if name else 0, found.message, found.hint
    origin = found.origin if found.origin is not None and found.origin.source.is_file else None
    name = Path(origin.source.name).name if origin is not None else None
    return name, origin.line if origin else 0, origin.column if origin else 0, found.message, found.hint


@pytest.mark.parametrize("case", mostly_long(CASES), ids=lambda case: case.name)
def test_the_editor_shows_what_the_check_says(case, own_place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(own_place))
    monkeypatch.delitem(sys.modules, "not_python", raising=False)
    for name in ("good.yaml", "system.yaml"):
        shutil.copy(corpus.HERE / "bad" / name, own_place)
    case.write(own_place)
    said = corpus.found_in(["config.yaml"], None)
    text = Path("config.yaml").read_text()
    Path("config.yaml").write_text("the text is not saved\n")
    found = shown(opened("config.yaml", text), "config.yaml")
    if case.name in NOT_RECOGNIZED:
        assert not found
    elif case.name == "many at once":  # it has no model, so it may be a part of a config: less is said of such
        assert found
        assert Counter(map(as_place, found)) <= Counter(map(as_place, said))
    else:
        assert Counter(map(as_place, found)) == Counter(map(as_place, said))


def test_there_are_cases() -> None:
    assert len(CASES) > 350
    assert {case.name for case in CASES} >= NOT_RECOGNIZED


def parts(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Parts of a config that others may merge with the rest."""
    yield from ({key: value} for key, value in config.items() if key not in ("model", "system"))
    yield {key: value for key, value in config.items() if key not in ("model", "system", "data")}
    for key in ("model", "system", "data", "trainer"):
        inner = config.get(key)
        if isinstance(inner, dict):
            yield {key: {name: value for name, value in inner.items() if name != "_target_"}}
            for name, value in inner.items():
                yield {key: {name: value}} if name != "_target_" else {}
                yield {f"{key}::{name}": value} if name != "_target_" else {}
                yield {key: {f"={name}": value}, "trainer": {"max_epochs": 1}} if name != "_target_" else {}


@pytest.mark.parametrize("path", mostly_long(EXAMPLES), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_of_a_layer_nothing_is_said_that_another_file_may_put_right(
    path: Path, own_place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(path.parent, own_place / "example")
    monkeypatch.chdir(own_place / "example")
    monkeypatch.syspath_prepend(str(own_place / "example"))
    monkeypatch.delenv("LIGHTER_PROJECT", raising=False)
    read = yaml.parse(Source(path.name, path.read_text()), Problems())
    assert read is not None
    config = read.plain()
    layers = [part for part in parts(config) if part and "_base_" not in part]
    for part in layers:
        text = yaml.dump(part)
        found = shown(opened("layer.yaml", text), "layer.yaml")
        assert not [each for each in found if each.severity == "error"], f"{found}\n{text}"
    assert layers or "_base_" in config


def test_other_yaml_is_no_config() -> None:
    for text in OTHERS:
        assert not is_config(text), text
    for text in OURS:
        assert is_config(text), text


OTHERS = [
    "",
    "on: push\njobs:\n  test:\n    runs-on: ubuntu\n",
    "services:\n  data: {image: x}\n",
    "model: resnet\ndata: ./images\nseed: 1\n",
    "defaults: [model: a]\nmodel: {_target_: a.B}\n",
    "_target_: torch.optim.Adam\nlr: 1\n",
    "seed_everything: 1\ntrainer: {max_epochs: 3}\nmodel: {class_path: a.B}\n",
    "model: {class_path: a.B}\ntrainer: {max_epochs: 3}\n",
    "trainer:\n  lr: 0.1\nmodel:\n  depth: 3\n",
    "project: 'my site'\nargs: [a]\n",
]
OURS = [
    "_base_: base.yaml\n",
    "trainer::max_epochs: 3\n",
    "=trainer::callbacks: []\n",
    "model:\n  _target_: \n",
    "model: {_target_: a.B, x: [\n",
    "trainer:\n  max_epochs: 3\n",
    "trainer: {max_epochs: 3}\nvars: {a: 1}\n",
    "_imports_: {np: numpy}\nvars: {x: $np.pi}\n",
]


def test_a_problem_in_a_base_is_shown_in_the_base(own_place: Path) -> None:
    shutil.copy(corpus.HERE / "bad" / "good.yaml", "base.yaml")
    documents = opened("top.yaml", "_base_: base.yaml\nvars: {x: '@vars::y'}\n")
    documents.opened(Path("base.yaml").resolve(), Path("base.yaml").read_text().replace("vars::lr", "vars::rate"))
    found = {(Path(str(each.file)).name, each.line, each.message) for each in shown(documents, "top.yaml")}
    assert found == {
        ("top.yaml", 2, "`@vars::y` refers to nothing"),
        ("base.yaml", 11, "`@vars::rate` refers to nothing"),
    }
    assert documents.affected(Path("base.yaml").resolve()) == [Path("base.yaml").resolve(), Path("top.yaml").resolve()]


@pytest.mark.parametrize(
    "text", ["model: {_target_: a.B, x: @y}", "model: {_target_: a.B, x: [", "model:\n\t_target_: a"]
)
def test_half_typed_yaml_is_one_problem_with_its_place(text: str, own_place: Path) -> None:
    documents = opened("config.yaml", f"trainer: {{max_epochs: 3}}\n{text}")
    found = shown(documents, "config.yaml")
    assert len(found) == 1
    assert found[0].message.startswith("this is not YAML")
    assert found[0].line >= 2
