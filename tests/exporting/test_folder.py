"""The folder of an export: what is in it, when it is replaced, and that it is there whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from functools import partialmethod
from pathlib import Path

import pytest
import torch

from lighter.errors import ConfigError, ExportError
from lighter.exporting import folder
from tests.exporting.runs import RUN, config_of, export, holder, made

FILES = {"model.pt2", "export.json", "load.py", "MODEL_CARD.md"}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("original")
    run = made(place, config_of(holder("Sound")), command=["lighter", "fit", "digits.yaml"])
    assert export("pt2", run=str(run.path)).exit_code == 0
    return place


@pytest.fixture
def exported(own_place: Path, original: Path) -> Path:
    shutil.copytree(original / "outputs", own_place / "outputs")
    return Path("outputs", RUN, "export/last-pt2")


def test_what_is_in_it(exported: Path) -> None:
    assert {path.name for path in exported.iterdir()} == FILES
    assert {path.name for path in exported.parent.iterdir()} == {"last-pt2"}
    facts = json.loads((exported / "export.json").read_text())
    checkpoint = exported.parents[1] / "checkpoints/last.ckpt"
    assert facts["checkpoint"]["sha256"] == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert facts["files"]["model.pt2"]["sha256"] == hashlib.sha256((exported / "model.pt2").read_bytes()).hexdigest()
    assert facts["run"]["id"] == RUN
    weights = torch.export.load(exported / "model.pt2").state_dict
    saved = torch.load(checkpoint)["state_dict"]
    assert all(torch.equal(weights[name], saved[f"network.{name}"]) for name in weights)


def test_the_card_says_what_is_known(exported: Path) -> None:
    card = (exported / "MODEL_CARD.md").read_text()
    assert card.startswith("# digits\n")
    assert "trained with `lighter fit digits.yaml`" in card
    assert "| input | `x` | float32 | (batch, 64) |" in card
    assert "| `val/accuracy` |" in card
    assert "not tested" in card


def test_another_export_is_replaced_if_asked(exported: Path) -> None:
    before = (exported / "export.json").read_text()
    refused = export("pt2")
    assert (refused.exit_code, (exported / "export.json").read_text()) == (2, before)
    assert refused.output == (f"{exported} is there already\n  Name another folder with --output, or add --force.\n")
    (exported / "load.py").write_text("changed")
    assert export("pt2", "--force").exit_code == 0
    assert {path.name for path in exported.parent.iterdir()} == {"last-pt2"}
    assert "import torch" in (exported / "load.py").read_text()


def test_files_of_the_users_are_not_replaced(exported: Path) -> None:
    (exported / "notes.txt").write_text("mine")
    refused = export("pt2", "--force")
    assert refused.exit_code == 2
    assert "It holds other files (notes.txt)" in refused.output
    Path("file").touch()
    assert export("pt2", "--force", "--output", "file").output == (
        "file is there already\n  It is no folder; name one with --output.\n"
    )


@pytest.mark.parametrize("facts", [None, "[]", '{"format": "csv"}', "mine"])
def test_a_folder_with_the_names_of_an_export_is_not_one(tmp_path: Path, facts: str | None) -> None:
    (tmp_path / "load.py").write_text("mine")
    (tmp_path / "model.pt2").touch()
    if facts is not None:
        (tmp_path / "export.json").write_text(facts)
    with pytest.raises(ConfigError, match="It is no export, as its export"):
        folder.refuse_taken(tmp_path, force=True)


def test_an_export_that_was_killed_while_it_replaced_another(exported: Path) -> None:
    aside = exported.with_name("last-pt2.replaced")
    exported.rename(aside)
    folder.sweep(exported.parent)
    assert {path.name for path in aside.iterdir()} == FILES
    with folder.published(exported, force=False) as new:
        (new / "model.pt2").touch()
        assert aside.exists()
    assert {path.name for path in exported.parent.iterdir()} == {"last-pt2"}
    aside.mkdir()
    with pytest.raises(ConfigError, match="replaced is there already"):
        folder.refuse_taken(exported, force=True)


def test_an_interrupt_between_the_two_renames(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = os.rename

    def interrupted(source: Path, target: Path) -> None:
        if Path(target) == exported and ".partial-" in Path(source).name:
            raise KeyboardInterrupt
        rename(source, target)

    before = (exported / "export.json").read_bytes()
    monkeypatch.setattr(os, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt), folder.published(exported, force=True):
        pass
    assert (exported / "export.json").read_bytes() == before
    assert {path.name for path in exported.parent.iterdir()} == {"last-pt2"}


def test_parents_that_were_made_go_with_a_refused_export(tmp_path: Path) -> None:
    with pytest.raises(ExportError), folder.published(tmp_path / "x/y/z", force=False):
        raise ExportError("refused")
    assert not [*tmp_path.iterdir()]
    (tmp_path / "x").mkdir()
    with pytest.raises(ExportError), folder.published(tmp_path / "x/y/z", force=False):
        raise ExportError("refused")
    assert [*tmp_path.rglob("*")] == [tmp_path / "x"]


def test_a_folder_that_cannot_be_written(exported: Path) -> None:
    Path("file").touch()
    refused = export("pt2", "--output", "file/model")
    assert (refused.exit_code, refused.output) == (1, "file/model cannot be written: File exists\n")


def test_an_export_that_fails_at_its_end_leaves_the_old_one(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folder, "sync", full)
    before = (exported / "export.json").read_bytes()
    refused = export("pt2", "--force")
    assert refused.exit_code == 1
    assert refused.output == f"{exported} cannot be written: No space left on device\n"
    assert (exported / "export.json").read_bytes() == before
    assert {path.name for path in exported.parent.iterdir()} == {"last-pt2"}


def test_without_the_packages_of_onnx(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lighter.exporting.formats.find_spec", lambda name: None)
    refused = export("onnx")
    assert (refused.exit_code, refused.output) == (
        2,
        "this needs onnx, onnxscript, onnxruntime: pip install 'lighter[onnx]'\n",
    )


@pytest.mark.long
def test_what_a_killed_export_left_is_swept(exported: Path) -> None:
    code = (
        "import os, pathlib, sys; from lighter.files.partials import partial_of;"
        "aside = partial_of(pathlib.Path(sys.argv[1])); aside.mkdir(); (aside / 'model.pt2').touch(); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code, str(exported)], check=False)
    assert len(list(exported.parent.iterdir())) == 2
    assert export("pt2", "--force").exit_code == 0
    assert [path.name for path in exported.parent.iterdir()] == ["last-pt2"]


@pytest.mark.long
def test_weights_too_large_for_onnx_are_beside_it(own_place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(own_place, config_of(holder("Sound")))
    # what it does by itself above 2 GB
    monkeypatch.setattr(torch.onnx.ONNXProgram, "save", partialmethod(torch.onnx.ONNXProgram.save, external_data=True))
    result = export("onnx", "--json")
    assert result.exit_code == 0, result.output
    facts = json.loads(result.output)
    assert [*facts["files"]] == ["model.onnx", "model.onnx.data"]
    assert facts["inputs"][0]["shape"] == ["batch", 64]
