"""What cannot be exported is refused with the module and the line, and nothing is left of it."""

from __future__ import annotations

import inspect
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.export import ExportedProgram

from lighter.exporting.graph import trace
from lighter.exporting.metrics import recorded_metrics
from tests.exporting import faults
from tests.exporting.runs import RUN, config_of, export, holder, made

FIXED = "a dimension of the input varies in the data, and the network does not let it vary"
REFUSED = {
    "FrozenView": f"{FIXED}: its size is fixed to 16",
    "FrozenNumber": f"{FIXED}: its size is fixed to 16",
    "OnlyLarge": f"{FIXED}: it only works where",
    "Branch": "the network decides by the values of its input, which an exported graph cannot do",
    "Item": "the network decides by the values of its input, which an exported graph cannot do",
    "Unsaved": "torch.export.save has no form for `round`",
    "Numpy": "torch.export fails: RuntimeError: .numpy() is not supported for tensor subclasses.",
    "Dropout": "the network has dropout that is on in evaluation",
    "Random": "the network draws random numbers in evaluation (aten.rand_like)",
    "ChangingBuffer": "the network changes its buffer `head.calls` when it is called",
    "Counting": "the network gives something else when it is called again with the same input",
}


def line_of(name: str) -> tuple[int, str]:
    """The line of a class that is marked as its fault."""
    lines, start = inspect.getsourcelines(getattr(faults, name))
    [(number, text)] = [(start + index, line) for index, line in enumerate(lines) if "# fault" in line]
    return number, text.strip()


@pytest.mark.parametrize("name", REFUSED)
def test_a_fault_is_refused_with_its_line(own_place: Path, name: str) -> None:
    run = made(own_place, config_of(holder(name)))
    refused = export("pt2")
    number, text = line_of(name)
    assert refused.exit_code == 5, refused.output
    assert refused.output.startswith(REFUSED[name])
    assert f"in `network.head` ({name}), {faults.__file__}:{number}: {text}\n" in refused.output
    assert not (run.path / "export").exists()


@pytest.mark.long
def test_an_operation_that_onnx_lacks(own_place: Path) -> None:
    made(own_place, config_of(holder("StableSort")))
    assert export("pt2").exit_code == 0
    refused = export("onnx")
    number, text = line_of("StableSort")
    assert refused.exit_code == 5
    assert refused.output == (
        "torch.onnx has no translation of aten.sort.stable to ONNX\n"
        f"  in `network.head` (StableSort), {faults.__file__}:{number}: {text}\n"
    )


@pytest.mark.long
def test_an_operation_that_onnx_computes_differently(own_place: Path) -> None:
    """As in pytorch/pytorch#166797 and #169178: it converts, loads and runs, and gives something else."""
    made(own_place, config_of(holder("Ties")))
    assert export("pt2").exit_code == 0
    refused = export("onnx")
    number, text = line_of("Ties")
    assert refused.exit_code == 5
    assert refused.output.startswith("model.onnx, with inputs of shape (1, 64), does not give what the network does")
    assert refused.output.endswith(f"  in `network.head` (Ties), {faults.__file__}:{number}: {text}\n")
    assert not (own_place / "outputs" / RUN / "export/last-onnx").exists()


def test_batch_normalization_in_training_mode(own_place: Path) -> None:
    made(own_place, config_of(holder("TrainingNorm")))
    refused = export("pt2")
    assert refused.exit_code == 5
    lines = refused.output.splitlines()
    assert lines[0] == "the network has batch normalization in training mode"
    assert lines[1].startswith(f"  in `network.head.norm` (BatchNorm1d), {faults.__file__}:")
    assert lines[1].endswith("return self.layer(self.norm(x))")


def test_a_wrong_weight_is_found_in_its_layer(own_place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(own_place, config_of(holder("Sound")))

    def wrong(*arguments: Any) -> ExportedProgram:
        program = trace(*arguments)
        program.state_dict["head.layer.weight"] = nn.Parameter(program.state_dict["head.layer.weight"] * 1.01)
        return program

    monkeypatch.setattr("lighter.exporting.artifact.trace", wrong)
    refused = export("pt2")
    assert refused.exit_code == 5
    assert "model.pt2, with inputs of shape (1, 64), does not give what the network does: `output`" in refused.output
    assert "in `network.head.layer` (Linear), " in refused.output
    assert "return self.layer(x)" in refused.output


def test_weights_that_are_not_the_checkpoints(own_place: Path) -> None:
    made(own_place, config_of({"_target_": "tests.jobs.mlp"}, "tests.exporting.faults.Overwriting"))
    refused = export("pt2")
    assert refused.exit_code == 5
    assert refused.output.startswith("`network.0.bias` is not as in outputs/")


def test_metrics_that_are_not_the_recorded_ones(own_place: Path) -> None:
    run = made(own_place, config_of(holder("Sound")))
    (run.path / "metrics.csv").write_text("epoch,step,val/accuracy\n0,9,0.75\n")
    refused = export("pt2")
    assert refused.exit_code == 5
    assert refused.output.startswith("`val/accuracy` is 0.")
    assert " now, and was recorded as 0.75: code, data or precision have changed." in refused.output
    assert export("pt2", "--tolerance", "1").exit_code == 0
    assert export("pt2", "--samples", "16", "--output", "some").exit_code == 0


def test_the_record_of_a_fit_with_several_optimizers(own_place: Path) -> None:
    run = made(own_place, config_of(holder("Sound")))
    (run.path / "metrics.csv").write_text("epoch,step,val/accuracy\n0,4,0.25\n1,9,0.75\n")
    epoch = {"epoch_loop.state_dict": {"_batches_that_stepped": 5}, "state_dict": {}}
    epoch["epoch_progress"] = {"current": {"ready": 1, "processed": 1}}
    content = {"global_step": 10, "loops": {"fit_loop": epoch}}
    assert recorded_metrics(run, Path("last.ckpt"), content) == {"val/accuracy": 0.25}


@pytest.mark.long
def test_metrics_of_which_the_record_has_none(own_place: Path) -> None:
    made(own_place, config_of(holder("Sound")))
    lines = export("pt2").output.splitlines()
    assert lines[-1].strip() == "not compared with the record: it has none of these at the checkpoint's step"
    lines = export("pt2", "--samples", "16", "--output", "some").output.splitlines()
    assert "not compared with the record: these are of the first 1 batches" in lines[-1]


@pytest.mark.long
def test_a_weight_that_is_nan(own_place: Path) -> None:
    run = made(own_place, config_of(holder("Sound")))
    file = run.checkpoints / "last.ckpt"
    content = torch.load(file)
    content["state_dict"]["network.head.layer.bias"][9] = math.nan
    torch.save(content, file)
    assert export("pt2").exit_code == 0


def test_a_checkpoint_that_could_run_code(own_place: Path) -> None:
    run = made(own_place, config_of(holder("Sound")))
    file = run.checkpoints / "last.ckpt"
    torch.save({**torch.load(file), "path": run.path}, file)
    refused = export("pt2")
    assert refused.exit_code == export("weights").exit_code
    assert "it is not opened for an export.\n" in refused.output
    assert "--no-weights_only" not in refused.output


def test_a_run_without_evaluation(own_place: Path) -> None:
    config = config_of(holder("Sound"))
    config["data"]["val_dataloader"] = None
    run = made(own_place, config)
    refused = export("pt2")
    assert refused.exit_code == 2
    assert refused.output.startswith("an export is verified by a validation or a test of the run, and it can do")
    assert not list(run.path.glob("export/*"))
