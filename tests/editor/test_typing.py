"""What is offered and known at a place of a text, finished or not; nothing is imported for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lighter.editor.server.completion import offers
from lighter.editor.server.cursor import cursor_at
from lighter.editor.server.documents import Documents
from lighter.editor.server.hovers import definition, hover, reference_at, spot_at
from lighter.editor.server.names import CLASS, MODULE, Location, Names
from lighter.editor.server.places import Place
from lighter.editor.server.renames import RefusedRenameError, edited, occurrences, rename

CONFIG = """\
_imports_: {np: numpy}
vars:
  rate: 0.5
  twice: $@vars::rate * 2
  metrics:
    accuracy: {_target_: torchmetrics.classification.MulticlassAccuracy, num_classes: 10}
model:
  _target_: shapes.Net
  optimizer: {_target_: torch.optim.Adam, lr: "@vars::rate"}
  train_metrics: "%vars::metrics"
  val_metrics: {accuracy: "%vars::metrics::accuracy"}
trainer: {max_epochs: 2}
"""


def split(marked: str) -> tuple[str, Place]:
    before, _, after = marked.partition("|")
    return before + after, Place(before.count("\n"), len(before) - before.rfind("\n") - 1)


def written(text: str, name: str = "config.yaml") -> Documents:
    """An open config that is on the disk as well, and was read."""
    Path(name).write_text(text)
    documents = Documents([Path.cwd()], Path.cwd())
    documents.opened(Path(name).resolve(), text)
    documents.read(Path(name).resolve())
    return documents


def offered(marked: str, before: str = CONFIG) -> dict[str, str]:
    """The texts that are offered at `|`, after the config was read as it was before, and what they would put there."""
    text, place = split(marked)
    documents = written(before)
    cursor = cursor_at(text, place)
    if cursor is None:
        return {}
    analysis = documents.analyses.get(Path("config.yaml").resolve())
    found = offers(cursor, analysis, Names([str(Path.cwd()), *sys.path]), Path.cwd(), None)
    return {offer.label: offer.text for offer in found}


@pytest.mark.parametrize(
    ("marked", "typed", "path", "is_key"),
    [
        ("|", "", "", True),
        ("mo|", "mo", "", True),
        ("mo|\ndata: 1\n", "mo", "", True),
        ("model:\n  |", "", "model", True),
        ("model:\n  opt|imizer: {a: 1}\n  b: 2", "opt", "model", True),
        ("model: {_target_: a.b, op|}\ndata: 1", "op", "model", True),
        ("model: {_target_: a.|", "a.", "model::_target_", False),
        ("a:\n  b: {_target_: x, lr: @va|", "@va", "a::b::lr", False),
        ("a:\n  b: {_target_: x, lr: '@va|'}\nc: 2", "@va", "a::b::lr", False),
        ('a:\n  lr: "$@vars::a + |\ndata:\n  b: 1', "$@vars::a + ", "a::lr", False),
        ("a:\n  b:\n    - _target_: a\n      |\n    - b\n", "", "a::b::0", True),
        ("a:\n  b:\n    - |\n", "", "a::b::0", True),
        ("a:\n  b:\n    - @x|\n", "@x", "a::b::0", False),
        ("a: {b: [{_target_: x}, |]}", "", "a::b::1", False),
        ("a: \n  b: |\n  c: 3\n", "", "a::b", False),
        ("a: |\n  c: 3\n", "", "a", False),
        ("model::optimizer: {=l|}", "=l", "model::optimizer", True),
        ("a: 'it''s' # '\nb: it's\nc: {d|\ne: 1", "d", "c", True),
        ("a: [\n  {_target_: pytorch|\nb: 1", "pytorch", "a::0::_target_", False),
        ("a: {\n    b: 1,\n    c|\n  }\nd: 1", "c", "a", True),
    ],
)
def test_the_cursor(marked, typed, path, is_key):
    text, place = split(marked)
    cursor = cursor_at(text, place)
    assert cursor is not None
    assert (cursor.typed, cursor.path, cursor.is_key) == (typed, path, is_key)


def test_no_cursor_in_a_comment():
    assert cursor_at(*split("a: 1 # mo|")) is None


def test_sections_and_keys_of_bases():
    found = offered(CONFIG + "|\n")
    assert found["experiment"] == "experiment: "
    assert "model" not in found
    assert "optimizer" in offered("_base_: config.yaml\nmodel:\n  |\n")
    # an operator needs something that is there
    replaced = offered("model:\n  =|\n")
    assert replaced["=val_metrics"] == "=val_metrics: "
    assert "=criterion" not in replaced
    assert offered("model:\n  ~|\n")["~val_metrics"] == "~val_metrics:"
    assert offered("model::|\n")["model::optimizer"] == "model::optimizer"


def test_paths_after_signs():
    assert offered(CONFIG.replace('"@vars::rate"', "@vars::|"))["@vars::rate"] == '"@vars::rate"'
    assert offered(CONFIG.replace('"@vars::rate"', '"@vars::|"'))["@vars::rate"] == "@vars::rate"
    assert offered(CONFIG.replace('"%vars::metrics"', '"%|"'))["%vars"] == "%vars"
    assert offered(CONFIG.replace("@vars::rate * 2", "@vars::| * 2"))["@vars::rate"] == "@vars::rate"
    assert offered(CONFIG.replace("@vars::rate * 2", "@::|"))["@::rate"] == "@::rate"
    # through a copy
    assert "@model::train_metrics::accuracy" in offered(CONFIG.replace("@vars::rate * 2", "@model::train_metrics::|"))


def test_names_in_expressions():
    assert offered(CONFIG.replace("$@vars::rate * 2", "$n|"))["np"] == "np"
    assert "len" in offered(CONFIG.replace("$@vars::rate * 2", "$l|"))
    assert "exit" not in offered(CONFIG.replace("$@vars::rate * 2", "$e|"))


def test_targets_and_special_values(own_place):
    (own_place / "shapes.py").write_text("raise SystemExit\nclass Net: pass\ndef _hidden(): pass\n")
    assert offered("model: {_target_: sha|}\n")["shapes"] == "shapes"
    assert offered("model: {_target_: shapes.|}\n") == {"Net": "shapes.Net"}
    assert "callable" in offered("model: {_target_: shapes.Net, _mode_: |}\n")
    assert "config.yaml" in offered("_base_: |\n")


def test_names_are_found_through_the_imports_of_packages(own_place):
    (own_place / "shapes").mkdir()
    (own_place / "shapes" / "__init__.py").write_text(
        "from .flat import *\nfrom .solid import Cube as Box\n__all__ = ['Box']\nprint('ran')\n"
    )
    (own_place / "shapes" / "flat.py").write_text("class Square:\n    def area(self): pass\nclass _Own: pass\n")
    (own_place / "shapes" / "solid.py").write_text("\n\nclass Cube: pass\n")
    names = Names([str(own_place), *sys.path])
    below = {(each.name, each.kind) for each in names.members("shapes")}
    assert below == {("flat", MODULE), ("solid", MODULE), ("Box", CLASS), ("Square", CLASS)}
    assert names.find("shapes.Box") == Location(str(own_place / "shapes" / "solid.py"), 3, CLASS)
    assert names.find("shapes.Square.area") is not None
    assert names.find("shapes.Sphere") is names.find("nothing.at.all") is None
    assert Names([str(own_place)], own_place / "shapes").find("project.solid.Cube") is not None
    assert "Linear" in {each.name for each in names.members("torch.nn")}
    found = names.find("lightning.pytorch.Trainer")
    assert found is not None
    assert found.file.endswith("trainer/trainer.py")
    assert "shapes" not in sys.modules


def at(documents, marked_part, inside=1):
    path = Path("config.yaml").resolve()
    text = documents.text(path)
    before = text[: text.index(marked_part) + inside]
    place = Place(before.count("\n"), len(before) - before.rfind("\n") - 1)
    spot = spot_at(documents.tree(path), text, place)
    assert spot is not None
    return documents.analyses[path], spot, place


def test_hover_shows_the_value_and_its_history(own_place):
    (own_place / "base.yaml").write_text("vars: {rate: 0.1}\n")
    documents = written("_base_: base.yaml\n" + CONFIG)
    text = hover(documents, *at(documents, '@vars::rate"', 8))
    assert text.startswith("`vars::rate`")
    lines = [line.split() for line in text.splitlines()]
    assert ["base.yaml:1:8", "defined:", "0.1"] in lines
    assert ["config.yaml:4:3", "changed:", "0.5"] in lines
    assert "Value: `1.0`" in hover(documents, *at(documents, "twice", 2))
    assert "stands for `vars::metrics`" in hover(documents, *at(documents, "train_metrics", 2))


def test_definitions(own_place):
    (own_place / "shapes.py").write_text("x = 1\nclass Net: pass\n")
    (own_place / "base.yaml").write_text("vars:\n  depth: 3\n")
    documents = written("_base_: base.yaml\n" + CONFIG.replace("twice: $@", "twice: $@vars::depth * @"))
    names = Names([str(own_place), *sys.path])

    def found(part, inside=1):
        target = definition(documents, *at(documents, part, inside), names)
        return (target.file.name, target.line) if target is not None else None

    assert found("shapes.Net") == ("shapes.py", 1)
    assert found("torch.optim.Adam") is not None
    assert found("@vars::depth") == ("base.yaml", 1)
    assert found('@vars::rate"') == ("config.yaml", 3)
    assert found("base.yaml") == ("base.yaml", 0)
    assert found("numpy") is not None
    assert found("0.5") is None


def renamed(documents, path, name, file="config.yaml"):
    edits = rename(documents, documents.analyses[Path(file).resolve()], path, name)
    return {each.name: edited(documents.text(each), of_file) for each, of_file in edits.items()}


def test_a_rename_is_whole(own_place):
    documents = written(CONFIG)
    assert renamed(documents, "vars::rate", "pace") == {
        "config.yaml": CONFIG.replace("rate", "pace"),
    }
    after = renamed(documents, "vars::metrics", "scores")["config.yaml"]
    assert after == CONFIG.replace("  metrics:", "  scores:").replace("vars::metrics", "vars::scores")
    analysis = documents.analyses[Path("config.yaml").resolve()]
    assert len(occurrences(documents, analysis, "vars::rate")) == 3
    assert [each.is_key for each in occurrences(documents, analysis, "vars::rate")] == [True, False, False]


def test_a_rename_changes_bases_and_what_is_built_on_them(own_place):
    (own_place / "base.yaml").write_text("vars:\n  'depth': 3\n  wide: {a: '@::::depth'}\n  deep: '@::depth'\n")
    (own_place / "other.yaml").write_text(
        "_base_: base.yaml\nmodel: {_target_: builtins.dict}\nvars::depth: 4\n"
        "x-a: &b '$f\"{@vars::depth}\"'\nvars: {y: *b}\n"
    )
    documents = written("_base_: base.yaml\n" + CONFIG + "vars::depth: 5\n")
    after = renamed(documents, "vars::depth", "levels")
    assert set(after) == {"base.yaml", "config.yaml", "other.yaml"}
    assert after["base.yaml"] == "vars:\n  'levels': 3\n  wide: {a: '@::::levels'}\n  deep: '@::levels'\n"
    assert after["config.yaml"].endswith("vars::levels: 5\n")


def test_a_rename_changes_closed_configs_that_copy_from_a_file(own_place):
    (own_place / "base.yaml").write_text("vars: {depth: 3, wide: '@vars::depth'}\n")
    copies = "model: {_target_: builtins.dict, a: '%config.yaml::vars::depth'}\n"
    (own_place / "copies.yaml").write_text(copies)
    documents = written("_base_: base.yaml\n" + CONFIG + "vars::depth: 5\n")
    after = renamed(documents, "vars::depth", "levels")
    # no value of `base.yaml` is in what `copies.yaml` is merged to, and it has the name all the same
    assert set(after) == {"base.yaml", "config.yaml", "copies.yaml"}
    assert after["copies.yaml"] == copies.replace("depth", "levels")


def test_a_rename_that_cannot_be_whole_is_refused(own_place):
    documents = written(CONFIG + "experiment: {search: {space: {vars::rate: [1, 2]}}}\nrun: {name: of vars::twice}\n")
    refused = {
        ("vars::rate", "a b"): "`a b` is no name that can be referred to",
        ("vars::rate", "twice"): "there is a `vars::twice` already",
        ("vars::speed", "pace"): "there is no `vars::speed`",
        ("vars", "values"): "`vars` is a section",
        ("model::optimizer", "adam"): "`optimizer` is an argument of shapes.Net",
        ("model::_target_", "x"): "`_target_` is a special key",
        ("trainer::max_epochs", "x"): "`trainer::max_epochs` is read under that name",
        ("vars::twice", "double"): "config.yaml:14 names `vars::twice`, and is no reference to it",
    }
    for (path, name), message in refused.items():
        with pytest.raises(RefusedRenameError) as error:
            renamed(documents, path, name)
        assert str(error.value).startswith(message)
    # the paths of a search space are changed too
    assert "space: {vars::pace:" in renamed(documents, "vars::rate", "pace")["config.yaml"]


def test_what_escapes_hide_is_refused(own_place):
    documents = written(CONFIG.replace('"@vars::rate"', '"@vars::\\x72ate"'))
    with pytest.raises(RefusedRenameError, match="vars::rate"):
        renamed(documents, "vars::rate", "pace")


def test_a_reference_at_a_place(own_place):
    documents = written(CONFIG)
    _, spot, place = at(documents, "@vars::rate * 2", 4)
    found = reference_at(spot, CONFIG, place)
    assert found is not None
    assert found[0] == "vars::rate"


def test_the_server_imports_neither_torch_nor_lightning():
    code = (
        "import sys; from lighter.editor.server.server import create;"
        "from lighter.editor.server.session import Settings;"
        "create(Settings()); assert not {'torch', 'pytorch_lightning', 'numpy'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=100)
