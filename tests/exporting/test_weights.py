"""`lighter export weights`: what is written is what was trained, for torch alone and for Lighter again."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from safetensors import safe_open
from safetensors.torch import load_file, load_model
from torch import nn

import lighter
from lighter.cli import cli
from lighter.errors import StorageError
from lighter.exporting.weights import export_weights, without_tied
from lighter.files.run_folder import RunFolder
from lighter.parts.weights.initial_weights import InitialWeights
from tests.jobs import mlp
from tests.runs.jobs import make_run

RUN = "2026-01-02/10-00-00-digits"


class Tied(nn.Module):
    """A language model's usual sharing, and a weight that is not contiguous."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 3)
        self.head = nn.Linear(3, 5, bias=False)
        self.head.weight = self.embed.weight
        self.turned = nn.Parameter(torch.randn(4, 2).t())


@pytest.fixture
def network() -> nn.Sequential:
    return mlp()


@pytest.fixture
def run(own_place: Path, network: nn.Module) -> RunFolder:
    folder = RunFolder(make_run(own_place / "outputs", RUN))
    state = {f"network._orig_mod.{name}": tensor for name, tensor in network.state_dict().items()}
    save(folder, "last.ckpt", {"network.0.weight": torch.zeros(1)})
    save(folder, "best.ckpt", {**state, "bias": torch.ones(2), "_extra_state": {"a": 1}})
    return folder


def save(folder: RunFolder, name: str, state: dict[str, Any], **content: Any) -> None:
    folder.checkpoints.mkdir(exist_ok=True)
    facts = {"epoch": 3, "global_step": 40, "lighter": {"config": {"seed": 3}}}
    torch.save({"state_dict": state, **facts, **content}, folder.checkpoints / name)


def export(*words: str) -> Result:
    return CliRunner().invoke(cli, ["export", "weights", *words])


def test_the_best_checkpoint_beside_itself(run: RunFolder, network: nn.Module) -> None:
    shown = export("last").output
    written = Path("outputs") / RUN / "checkpoints/best.safetensors"
    assert shown == (
        f"{written}  5 tensors, 0.0 MB, from {written.with_suffix('.ckpt')}\nleft out, being no tensors: _extra_state\n"
    )
    module = nn.Module()
    module.network, module.bias = mlp(), nn.Parameter(torch.zeros(2))
    module.load_state_dict(load_file(written))
    assert all(torch.equal(a, b) for a, b in zip(module.network.parameters(), network.parameters(), strict=True))
    with safe_open(written, "pt") as file:
        metadata = file.metadata()
    assert len(metadata.pop("lighter.config_sha256")) == 64
    assert metadata == {
        "format": "pt",
        "lighter.version": lighter.__version__,
        "lighter.runs": RUN,
        "lighter.checkpoint": "best.ckpt",
        "lighter.epoch": "3",
        "lighter.step": "40",
    }


def test_a_part_for_plain_torch(run: RunFolder, network: nn.Module) -> None:
    assert export(RUN, "--module", "network", "--output", "new/net.safetensors").exit_code == 0
    plain = mlp()
    plain.load_state_dict(load_file("new/net.safetensors"))
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), network.parameters(), strict=True))


def test_initial_weights_of_another_fit(run: RunFolder, network: nn.Module) -> None:
    export(RUN, "--output", "net.safetensors")
    new = mlp()
    [report] = InitialWeights("net.safetensors").load({f"network.{k}": v for k, v in new.state_dict().items()})
    assert report.share == 1
    assert torch.equal(new[0].weight, network[0].weight)


def test_tied_weights_are_written_once_and_read_as_tied(run: RunFolder) -> None:
    model, other = Tied(), Tied()
    save(run, "tied.ckpt", model.state_dict())
    shown = export(RUN, "--checkpoint", "tied.ckpt", "--output", "tied.safetensors").output
    assert "head.weight is embed.weight" in shown
    assert sorted(load_file("tied.safetensors")) == ["embed.weight", "turned"]
    load_model(other, "tied.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(other.parameters(), model.parameters(), strict=True))
    fresh = Tied()
    [report] = InitialWeights("tied.safetensors", match=1.0).load(fresh.state_dict())
    assert set(report.loaded) == {"head.weight", "embed.weight", "turned"}
    assert torch.equal(fresh.head.weight, model.head.weight)


def test_tensors_that_lie_in_one_memory_are_written_apart() -> None:
    memory = torch.arange(6.0)
    alone, tied = without_tied(
        {"a": memory[:4], "b": memory[2:], "c": memory[:4], "none": memory[:0], "no": memory[:0]}
    )
    assert tied == {"c": "a"}
    assert len({tensor.untyped_storage().data_ptr() for name, tensor in alone.items() if "n" not in name}) == 2
    assert alone["b"].tolist() == [2, 3, 4, 5]


def test_nothing_is_written_over(run: RunFolder) -> None:
    Path("mine.safetensors").write_text("mine")
    refused = export(RUN, "--output", "mine.safetensors")
    assert refused.exit_code == 2
    assert refused.output == ("mine.safetensors is there already\n  Name another file with --output, or add --force.\n")
    assert Path("mine.safetensors").read_text() == "mine"
    assert export(RUN, "--output", "mine.safetensors", "--force").exit_code == 0
    assert len(load_file("mine.safetensors")) == 5


def test_what_is_no_file_is_not_taken_the_place_of(run: RunFolder) -> None:
    os.mkfifo("pipe")
    for name in (".", "pipe"):
        refused = export(RUN, "--output", name, "--force")
        assert refused.exit_code == 2
        assert refused.output == f"{name} is there already\n  It is no file; name one with --output.\n"
    assert Path("pipe").is_fifo()


def test_a_checkpoint_is_not_written_over(run: RunFolder) -> None:
    best = run.checkpoints / "best.ckpt"
    before = best.read_bytes()
    refused = export(RUN, "--output", str(best), "--force")
    assert (refused.exit_code, best.read_bytes()) == (2, before)
    assert refused.output == f"{best} would be a checkpoint by its name\n  Name a file *.safetensors.\n"


def test_a_link_to_nothing_is_passed_over(run: RunFolder) -> None:
    os.symlink("nothing", run.checkpoints / "link.ckpt")
    assert export(RUN, "--checkpoint", "last", "--output", "last.safetensors").exit_code == 0


def test_a_place_that_cannot_be_written_to(run: RunFolder) -> None:
    Path("file").touch()
    refused = export(RUN, "--output", "file/w.safetensors")
    assert refused.exit_code == 1
    assert refused.output == "file/w.safetensors cannot be written: File exists\n"
    [error] = json.loads(export(RUN, "--output", "file/w.safetensors", "--json").stdout)["errors"]
    assert (error["code"], error["file"]) == ("storage", "file/w.safetensors")


def test_others_may_read_the_file_as_they_may_any_other(run: RunFolder) -> None:
    export(RUN, "--output", "w.safetensors")
    Path("any").touch()
    assert Path("w.safetensors").stat().st_mode == Path("any").stat().st_mode


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["none"], 2, f"no run under outputs is called `none`. The newest is {RUN}; `lighter runs list` shows more."),
        ([RUN, "--module", "netwrk"], 2, "`netwrk` has no weights in outputs/{best}\n  Did you mean `network`?"),
        ([RUN, "--checkpoint", "b.ckpt"], 3, f"there is no checkpoint b.ckpt. {RUN} has: {{names}}"),
        ([RUN, "--checkpoint", "torn.ckpt"], 3, "outputs/{torn} is damaged: it ends at byte 500"),
        ([RUN, "--checkpoint", "code.ckpt"], 3, "outputs/{code} holds more than weights and plain data"),
        ([RUN, "--checkpoint", "sparse.ckpt"], 3, "`w` is sparse or quantized, and safetensors holds plain tensors"),
        ([RUN, "--checkpoint", "odd.ckpt"], 3, "safetensors has no torch.complex128, which some of these weights are"),
        ([RUN, "--checkpoint", "shards"], 3, "outputs/{shards} is a sharded checkpoint"),
    ],
    ids=["run", "module", "missing", "torn", "code", "sparse", "dtype", "sharded"],
)
def test_what_cannot_be(run: RunFolder, words: list[str], code: int, message: str) -> None:
    (run.checkpoints / "torn.ckpt").write_bytes((run.checkpoints / "best.ckpt").read_bytes()[:500])
    torch.save({"state_dict": {"a": torch.zeros(1)}, "path": Path("x")}, run.checkpoints / "code.ckpt")
    save(run, "sparse.ckpt", {"w": torch.eye(2).to_sparse()})
    save(run, "odd.ckpt", {"w": torch.zeros(2, dtype=torch.complex128)})
    (run.checkpoints / "shards").mkdir()
    names = "last.ckpt, best.ckpt, torn.ckpt, code.ckpt, sparse.ckpt, odd.ckpt"
    for index, name in enumerate(names.split(", ")):
        os.utime(run.checkpoints / name, (index, index))
    places = {path.stem: f"{RUN}/checkpoints/{path.name}" for path in run.checkpoints.iterdir()}
    expected = message.format(names=names, **places)
    found = export(*words, "--output", "out.safetensors")
    assert (found.exit_code, found.output[: len(expected)]) == (code, expected)
    assert not list(Path().glob("*out.safetensors*"))


def test_without_the_package_it_says_what_to_install(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "safetensors", None)
    found = export(RUN)
    assert (found.exit_code, found.output) == (
        2,
        "this needs the package safetensors: pip install safetensors\n",
    )


def test_a_run_without_checkpoints(own_place: Path) -> None:
    make_run(own_place / "outputs", RUN)
    assert export(RUN).exit_code == 3
    assert export("last").output == "there is no run with checkpoints among the 1 runs under outputs\n"


def test_a_full_disk_leaves_what_was_there(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("w.safetensors").write_text("mine")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lighter.exporting.weights.sync", full)
    with pytest.raises(StorageError, match=r"w\.safetensors cannot be written: No space left on device"):
        export_weights(run, output=Path("w.safetensors"), force=True)
    assert Path("w.safetensors").read_text() == "mine"
    assert not list(Path().glob(".*"))
