"""What is exported of each kind of module, and how it is described and verified."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest
import torch

from lighter.exporting.calls import Call
from tests.exporting.parts import FORMS
from tests.exporting.runs import config_of, export, holder, made

PARTS = "tests.exporting.parts"
OTHER = "called with other arguments from call to call, and not only with other tensors"
CONSTANT = "In an exported program, what is no tensor is a constant, and the number of tensors is fixed"
KINDS = ["pt2", pytest.param("onnx", marks=pytest.mark.long)]


def target(name: str, **arguments: Any) -> dict[str, Any]:
    return {"_target_": f"{PARTS}.{name}", **arguments}


def facts_of(kind: str, *words: str) -> dict[str, Any]:
    result = export(kind, "--json", *words)
    assert result.exit_code == 0, result.output
    facts = json.loads(result.output)
    facts.pop("schema", None)
    assert json.loads(Path(facts.pop("path"), "export.json").read_text()) == facts
    return facts


def shapes(facts: dict[str, Any], side: str = "inputs") -> dict[str, list[Any]]:
    return {each["name"]: each["shape"] for each in facts[side]}


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_that_changes_its_input(own_place: Path, kind: str) -> None:
    made(own_place, config_of(holder("InPlace")))
    facts = facts_of(kind)
    assert facts["network"]["module"] == "network"
    assert facts["network"]["class"] == "tests.exporting.faults.Holder"
    verification = facts["verification"]
    assert (verification["stage"], verification["data"], verification["batch_sizes"]) == (
        "validate",
        "all",
        [1, 2, 3, 5],
    )
    assert set(verification["metrics"]) == {"val/accuracy", "val/loss/epoch"}
    assert all(each["difference"] <= 1e-4 for each in verification["metrics"].values())
    assert set(verification["outputs"]) == {"output"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("container", ["dict", pytest.param("tuple", marks=pytest.mark.long)])
def test_several_inputs_and_outputs(own_place: Path, kind: str, container: str) -> None:
    config = config_of(target("Two", kind=container), f"{PARTS}.TwoInputs")
    config["data"]["val_dataloader"] = target("aged")
    made(own_place, config)
    facts = facts_of(kind)
    assert shapes(facts) == {"image": ["batch", 64], "age": ["batch"]}
    assert facts["call"] == {"args": [{"input": "image"}], "kwargs": {"age": {"input": "age"}, "scale": 2.0}}
    names = {"dict": ["digit", "ink"], "tuple": ["output_0", "output_1_0"]}[container]
    assert shapes(facts, "outputs") == dict(zip(names, [["batch", 10], ["batch"]], strict=True))


@pytest.mark.long
def test_a_named_tuple_would_need_its_class(own_place: Path) -> None:
    config = config_of(target("Two", kind="named"), f"{PARTS}.TwoInputs")
    config["data"]["val_dataloader"] = target("aged")
    made(own_place, config)
    refused = export("pt2")
    assert refused.exit_code == 5
    assert refused.output.startswith("the network returns or takes a named tuple, whose class torch would need to load")
    assert refused.output.endswith("A dict or a plain tuple can be exported.\n")


@pytest.mark.long
@pytest.mark.parametrize("kind", ["pt2", "onnx"])
def test_lengths_that_vary_are_dynamic_and_tied_weights_stay(own_place: Path, kind: str) -> None:
    config = config_of(target("Reader"))
    config["data"]["val_dataloader"] = target("words")
    made(own_place, config)
    [tokens] = facts_of(kind)["inputs"]
    assert tokens == {
        "name": "tokens",
        "dtype": "int64",
        "shape": ["batch", "tokens_1"],
        "seen": [[2, 8], [5, 7]],
        "limits": [0, 6],
    }


@pytest.mark.long
@pytest.mark.parametrize("kind", ["pt2", "onnx"])
def test_double_precision(own_place: Path, kind: str) -> None:
    made(own_place, config_of(target("Double")))
    facts = facts_of(kind)
    assert facts["network"]["weights"] == ["float64"]
    assert facts["outputs"][0]["dtype"] == "float64"


def test_a_forward_of_several_parts_is_exported_whole(own_place: Path) -> None:
    config = config_of(None)
    config["model"] = target("Plain")
    made(own_place, config)
    facts = facts_of("pt2")
    assert (facts["network"]["module"], facts["network"]["class"]) == ("", f"{PARTS}.Plain")
    assert set(facts["verification"]["metrics"]) == {"val_loss"}


@pytest.mark.parametrize("form", [form for form in FORMS if form != "default"])
def test_load_py_makes_the_arguments_of_any_call(own_place: Path, form: str) -> None:
    made(own_place, config_of(target("Summed"), f"{PARTS}.Calling", form=form))
    assert export("pt2", "--output", "here").exit_code == 0
    facts = json.loads(Path("here/export.json").read_text())
    script = runpy.run_path("here/load.py")
    args, kwargs = script["zeros"](facts)
    expected = FORMS[form](torch.zeros(2, 64))
    assert repr((args, kwargs)) == repr(expected)
    model = script["load"]()
    x = torch.rand(4, 64)
    by_name = dict(zip([each["name"] for each in facts["inputs"]], Call(*FORMS[form](x)).tensors, strict=True))
    args, kwargs = script["fill"](facts["call"], by_name)
    original, expected_kwargs = FORMS[form](x)
    assert torch.equal(model(*args, **kwargs), model(*original, **expected_kwargs))


def test_what_load_py_cannot_make_is_refused(own_place: Path) -> None:
    made(own_place, config_of(target("Summed"), f"{PARTS}.Calling", form="default"))
    refused = export("pt2", "--output", "here")
    assert (refused.exit_code, Path("here").exists()) == (5, False)
    assert refused.output == (
        "the network is called with a collections.defaultdict, which `load.py` cannot make for a pt2."
        " Tensors, numbers, strings and None can be exported, in dicts, lists and tuples\n"
    )


@pytest.mark.long
def test_onnx_needs_no_arguments_made(own_place: Path) -> None:
    made(own_place, config_of(target("Summed"), f"{PARTS}.Calling", form="default"))
    facts = facts_of("onnx")
    assert facts["call"] == {"args": [{"collections.defaultdict": [{"input": "args"}]}], "kwargs": {}}


@pytest.mark.long
def test_nested_inputs_have_the_names_of_their_keys(own_place: Path) -> None:
    made(own_place, config_of(target("Nested"), f"{PARTS}.NestedInput"))
    facts = facts_of("pt2")
    assert shapes(facts) == {"batch_pixels_0": ["batch", 64], "batch_pixels_1": ["batch", 64]}


def test_of_two_networks_one_is_named(own_place: Path) -> None:
    config = config_of(None)
    config["model"] = target("TwoNetworks")
    made(own_place, config)
    refused = export("pt2")
    assert refused.exit_code == 2
    assert refused.output == "TwoNetworks calls network, other\n  Name the part to export with --module: network.\n"
    assert export("pt2", "--module", "othr").output == "--module: there is no `othr`\n  Did you mean `other`?\n"
    assert facts_of("pt2", "--module", "other")["network"]["class"] == "torch.nn.modules.linear.Linear"


def test_a_forward_module(own_place: Path) -> None:
    config = config_of(None)
    evaluators = {"_target_": "tests.jobs.metrics"}
    network = {"_target_": "tests.jobs.mlp"}
    config["model"] = {"_target_": "tests.jobs.ForwardClassifier", "model": network, "evaluator_cfg": evaluators}
    made(own_place, config)
    facts = facts_of("pt2")
    assert facts["network"]["module"] == "model"
    assert "val/metrics/accuracy/epoch" in facts["verification"]["metrics"]


def test_a_number_that_changes_from_call_to_call(own_place: Path) -> None:
    config = config_of(target("Two"), f"{PARTS}.ChangingScale")
    config["data"]["val_dataloader"] = target("aged")
    made(own_place, config)
    call = "(tensor, age=tensor, scale={})"
    assert export("pt2").output == f"Two is {OTHER}: {call.format(1.0)}, then {call.format(2.0)}. {CONSTANT}\n"


RANK = "the number of dimensions of the input `args` changes from call to call: (16, 64), then (64,)."


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ("mask", f"Summed is {OTHER}: (tensor, tensor), then (tensor, None). {CONSTANT}\n"),
        ("number", f"Summed is {OTHER}: ([tensor, tensor]), then ([tensor]). {CONSTANT}\n"),
        ("keyword", f"Summed is {OTHER}: (tensor, input=tensor), then (tensor). {CONSTANT}\n"),
        ("rank", f"{RANK} In an exported program it is fixed\n"),
    ],
)
def test_tensors_whose_number_changes_from_call_to_call(own_place: Path, form: str, message: str) -> None:
    made(own_place, config_of(target("Summed"), f"{PARTS}.ChangingCalls", form=form))
    refused = export("pt2")
    assert (refused.exit_code, refused.output) == (5, message)


@pytest.mark.parametrize(
    ("kind", "count", "batch_size"),
    [
        ("dataset", 1, 1),
        ("dataset", 1, 16),
        ("dataset", 2, 2),
        ("sampler", 1, 16),
        ("sampler", 5, 16),
        ("stream", 1, 16),
        ("stream", 5, 16),
        ("batches", 1, 1),
        ("batches", 4, 1),
    ],
)
def test_few_samples_are_enough(own_place: Path, kind: str, count: int, batch_size: int) -> None:
    config = config_of(holder("Sound"))
    config["data"]["val_dataloader"] = target("few", kind=kind, count=count, batch_size=batch_size)
    made(own_place, config)
    facts = facts_of("pt2")
    assert shapes(facts) == {"x": ["batch", 64]}
    assert facts["verification"]["batch_sizes"][:2] == [1, 2]


@pytest.mark.parametrize("kind", ["dataset", "batches"])
def test_a_network_that_takes_one_sample_only(own_place: Path, kind: str) -> None:
    config = config_of(holder("OnlyOne"))
    config["data"]["val_dataloader"] = target("few", kind=kind, count=4, batch_size=1)
    made(own_place, config)
    refused = export("pt2")
    size = {"dataset": 3, "batches": 2}[kind]
    assert (refused.exit_code, refused.output.splitlines()[0]) == (
        5,
        f"the network fails with inputs of shape ({size}, 64): ValueError: one by one",
    )
    assert "in `network.head` (OnlyOne), " in refused.output
    assert 'raise ValueError("one by one")  # fault' in refused.output


def test_a_part_of_the_batch(own_place: Path) -> None:
    made(own_place, config_of({"_target_": "tests.jobs.mlp"}, "tests.exporting.faults.HalfOfBatch"))
    assert export("pt2").output == (
        "`network` (Sequential) does not get all samples of a batch: (1, 64) of a batch of 2; (1, 64) of a batch of 3;"
        " (1, 64) of a batch of 16. An export needs a part that does: name one with --module\n"
    )
