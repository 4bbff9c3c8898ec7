"""Initial weights, by themselves: what is loaded, what is said of the rest."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from lighter.errors import CheckpointError, ModuleTypeError, ModuleValueError
from lighter.parts.weights.initial_weights import InitialWeights
from tests.jobs import Classifier, mlp

PREFIXES = ("network.", "model.")


@pytest.fixture
def saved(tmp_path: Path) -> dict[str, torch.Tensor]:
    """A network's weights, saved in several ways."""
    state = mlp().state_dict()
    torch.save(state, tmp_path / "plain.pt")
    torch.save({"state_dict": {f"network.{key}": value for key, value in state.items()}}, tmp_path / "ours.ckpt")
    torch.save({f"module.{key}": value for key, value in state.items()}, tmp_path / "parallel.pt")
    torch.save({f"old.{key}": value for key, value in state.items()}, tmp_path / "renamed.pt")
    torch.save({f"module.model.{key}": value for key, value in state.items()}, "both.pt")
    torch.save({"state_dict": {f"network._orig_mod.{key}": value for key, value in state.items()}}, "compiled.ckpt")
    torch.save({"0.weight": state["0.weight"], "2.weight": torch.zeros(3, 32), "9.weight": torch.zeros(1)}, "part.pt")
    return state


def load(given: Any, match: float = 0.0) -> tuple[dict[str, torch.Tensor], Any]:
    module = Classifier(mlp())
    [*reports] = InitialWeights(given, match).load(module.state_dict(), PREFIXES)
    return module.network.state_dict(), reports[-1]


@pytest.mark.parametrize(
    ("given", "how"),
    [
        ("plain.pt", " (with `network.` in front of the keys)"),
        ("ours.ckpt", ""),
        ("parallel.pt", " (without `module.` and with `network.` in front of the keys)"),
        ({"path": "renamed.pt", "rename": {"old.": "network."}}, ""),
        ({"path": "renamed.pt", "drop_prefix": "old.", "add_prefix": "network."}, ""),
        ({"path": "renamed.pt", "drop_prefix": "old."}, " (with `network.` in front of the keys)"),
        ("both.pt", " (without `module.model.` and with `network.` in front of the keys)"),
        ("compiled.ckpt", ""),
    ],
)
def test_keys_find_their_place(saved: dict[str, torch.Tensor], given: Any, how: str) -> None:
    loaded, report = load(given, match=1.0)
    assert all(torch.equal(loaded[key], saved[key]) for key in saved)
    assert report.how == how
    assert report.share == 1.0


def test_weights_of_a_compiled_network(saved: dict[str, torch.Tensor]) -> None:
    module = Classifier(torch.compile(mlp(), backend="eager"))
    [report] = InitialWeights("ours.ckpt", match=1.0).load(module.state_dict(), PREFIXES)
    assert torch.equal(module.network._orig_mod[0].weight, saved["0.weight"])
    assert report.how == ""


def test_weights_of_a_part_of_the_network(saved: dict[str, torch.Tensor]) -> None:
    module = nn.ModuleDict({"network": nn.ModuleDict({"encoder": mlp(), "head": nn.Linear(10, 2)})})
    source = {"path": "parallel.pt", "drop_prefix": "module.", "add_prefix": "encoder."}
    [report] = InitialWeights(source).load(module.state_dict(), PREFIXES)
    assert torch.equal(module["network"]["encoder"][0].weight, saved["0.weight"])
    assert report.missing == ["network.head.weight", "network.head.bias"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"drop_prefix": "modul."}, "`drop_prefix` has `modul.`, and no key in .* begins so. Did you mean `module.`?"),
        (
            {"rename": {"blocks.": ""}},
            "`rename` has `blocks.`, and no key in .* begins so. There is: module., module.0.",
        ),
        (
            {"drop_prefix": "module.", "rename": {"0.": "2."}},
            "`module.0.weight` and `module.2.weight` would both become",
        ),
    ],
)
def test_changes_that_do_not_fit_the_keys(saved: Any, change: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        load({"path": "parallel.pt", **change})


def test_safetensors(saved: dict[str, torch.Tensor]) -> None:
    save_file(saved, "plain.safetensors")
    loaded, _ = load("plain.safetensors")
    assert torch.equal(loaded["0.weight"], saved["0.weight"])


def test_the_report_lists_what_was_not_loaded(saved: dict[str, torch.Tensor]) -> None:
    loaded, report = load("part.pt")
    assert torch.equal(loaded["0.weight"], saved["0.weight"])
    assert str(report) == (
        "initial weights from part.pt (with `network.` in front of the keys):\n"
        "  loaded         1\n"
        "  missing        2  network.0.bias, network.2.bias\n"
        "  unexpected     1  network.9.weight\n"
        "  reshaped       1  network.2.weight (3, 32) for (10, 32)"
    )


def test_what_is_skipped_keeps_its_own_weights(saved: dict[str, torch.Tensor]) -> None:
    loaded, report = load({"path": "plain.pt", "skip": ["2"]}, match=1.0)
    assert torch.equal(loaded["0.weight"], saved["0.weight"])
    assert not torch.equal(loaded["2.weight"], saved["2.weight"])
    assert str(report).endswith("  skipped        2  network.2.weight, network.2.bias")
    with pytest.raises(
        ModuleValueError, match=r"`ckpt_path::skip`: no weight's name starts with `hed`\. There is: 0, 2"
    ):
        load({"path": "plain.pt", "skip": "hed"})


def test_of_several_files_the_newest_is_taken(saved: dict[str, torch.Tensor], tmp_path: Path) -> None:
    for age, day in enumerate(("20", "22", "21")):
        file = tmp_path / "outputs" / day / "best.pt"
        file.parent.mkdir(parents=True)
        torch.save({"network.0.bias": torch.full((32,), float(day))}, file)
        os.utime(file, (100 - age, 100 - age))
    loaded, report = load("outputs/*/best.pt")
    assert (loaded["0.bias"] == 20).all()
    assert report.path == Path("outputs/20/best.pt")
    with pytest.raises(ModuleValueError, match=r"there is no file outputs/\*/last\.pt"):
        load("outputs/*/last.pt")


def test_several_are_loaded_in_order(saved: dict[str, torch.Tensor]) -> None:
    torch.save({"network.0.bias": torch.full((32,), 7.0)}, "later.pt")
    loaded, _ = load(["plain.pt", "later.pt"])
    assert torch.equal(loaded["2.weight"], saved["2.weight"])
    assert (loaded["0.bias"] == 7).all()


def test_too_little_is_an_error_and_changes_nothing(saved: dict[str, torch.Tensor]) -> None:
    with pytest.raises(CheckpointError, match=r"25% of the weights are in .* `ckpt_match` asks for 90%"):
        load("part.pt", match=0.9)
    torch.save({"other": torch.zeros(1)}, "other.pt")
    with pytest.raises(CheckpointError, match="0% of the weights are in the checkpoint, and no key fits"):
        load("other.pt")


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ("nowhere.pt", ModuleValueError, r"there is no file nowhere\.pt"),
        ([], ModuleTypeError, "`ckpt_path` is an empty list"),
        (
            {"path": "plain.pt", "rename": {0: 2}},
            ModuleTypeError,
            "`ckpt_path` is a dict with the keys 'path', 'rename'",
        ),
        (3, ModuleTypeError, r"`ckpt_path` is a int \(3\). It is a path"),
        ({"path": "plain.pt", "prefix": "x"}, ModuleTypeError, "`ckpt_path` is a dict with the keys 'path', 'prefix'"),
    ],
)
def test_wrong_paths(saved: Any, given: Any, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        InitialWeights(given)


def test_files_that_hold_no_weights(saved: Any) -> None:
    Path("torn.pt").write_bytes(b"PK\x03\x04")
    torch.save({"evil": Classifier}, "code.pt")
    torch.save([1, 2], "list.pt")
    for name, message in (
        ("torn.pt", "is damaged: it ends at byte 4, too early"),
        ("code.pt", "can run code"),
        ("list.pt", "has no weights: it holds a list of 2"),
    ):
        with pytest.raises(CheckpointError, match=message):
            load(name)


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
def test_lazy_layers_take_any_shape(saved: dict[str, torch.Tensor]) -> None:
    network = torch.nn.Sequential(torch.nn.LazyLinear(32), torch.nn.ReLU(), torch.nn.LazyLinear(10))
    [report] = InitialWeights("plain.pt", 1.0).load(Classifier(network).state_dict(), PREFIXES)
    assert report.share == 1.0
    assert all(torch.equal(network.state_dict()[key], saved[key]) for key in saved)
