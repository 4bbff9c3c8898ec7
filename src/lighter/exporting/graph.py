"""A network as a graph: `torch.export`, and what such a graph may not contain."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO

import torch
from torch import nn
from torch.export import ExportedProgram

from lighter.errors import ExportError
from lighter.exporting.calls import Call
from lighter.exporting.dimensions import Input, dynamic_shapes
from lighter.exporting.places import Names, Place, guards_of

_CONSTRAINT = "Constraints violated"
_BRANCH = re.compile(r"data-dependent|DataDependent")
_SPECIALIZED = re.compile(r"specialized it to be a constant \((\d+)\)")
_GUARD = re.compile(r"satisfy the generated guard (.+)")


def trace(network: nn.Module, call: Call, inputs: Sequence[Input], names: Names) -> ExportedProgram:
    """Export a network, with the dynamic dimensions of its inputs.

    Raises:
        ExportError: it cannot be exported, or what was exported would not repeat what the network does.
    """
    # before it raises, torch prints the graph so far
    printed = redirect_stdout(StringIO()), redirect_stderr(StringIO())
    with guards_of(names) as guards, warnings.catch_warnings(), torch.no_grad(), printed[0], printed[1]:
        warnings.simplefilter("ignore")
        try:
            program = torch.export.export(
                network, call.args, call.kwargs, dynamic_shapes=dynamic_shapes(call, inputs, network), strict=False
            )
        except Exception as error:  # user code, and all that torch says of it
            raise _refusal(error, names, guards.frozen) from error
    _refuse_nodes(program, names)
    return program


def _refusal(error: Exception, names: Names, frozen: Place | None) -> ExportError:
    text = str(error)
    first = text.strip().partition("\n")[0]
    if _CONSTRAINT in text:
        fixed, guard = _SPECIALIZED.search(text), _GUARD.search(text)
        what = f"its size is fixed to {fixed[1]}" if fixed else f"it only works where {guard[1]}" if guard else first
        return refused(
            f"a dimension of the input varies in the data, and the network does not let it vary: {what}", frozen
        )
    place = names.of_error(error)
    if _BRANCH.search(text) or _BRANCH.search(type(error).__name__):
        return refused("the network decides by the values of its input, which an exported graph cannot do", place)
    return refused(f"torch.export fails: {type(error).__name__}: {first}", place)


def _refuse_nodes(program: ExportedProgram, names: Names) -> None:
    """Raise if a graph draws random numbers, or changes what is kept between calls."""
    nodes = [node for node in program.graph.nodes if node.op == "call_function"]
    for node in nodes:
        tags = getattr(node.target, "tags", ())
        if torch.Tag.nondeterministic_seeded in tags and not _is_idle_dropout(node):
            what = f"draws random numbers in evaluation ({_op(node)}), so no two calls give the same"
            if "dropout" in str(node.target):
                what = "has dropout that is on in evaluation"
            raise refused(f"the network {what}", names.of_node(node.meta))
    mutated = program.run_decompositions({})
    for name, buffer in mutated.graph_signature.buffers_to_mutate.items():
        node = next(node for node in mutated.graph.nodes if node.name == name)
        norm = next((each for each in nodes if _trains_norm(each)), None)
        if norm is not None:
            raise refused("the network has batch normalization in training mode", names.of_node(norm.meta))
        raise refused(f"the network changes its buffer `{buffer}` when it is called", names.of_node(node.meta))


def _is_idle_dropout(node: torch.fx.Node) -> bool:
    """Return whether a node only draws if an argument says so, and that does not."""
    name = str(node.target)
    if "dropout" in name:
        arguments = dict(zip(("input", "p", "train"), node.args, strict=False)) | dict(node.kwargs)
        return arguments.get("train", arguments.get("training")) is False or bool(arguments.get("p") == 0)
    if "scaled_dot_product" in name:
        arguments = dict(zip(("q", "k", "v", "mask", "dropout_p"), node.args, strict=False)) | dict(node.kwargs)
        return not arguments.get("dropout_p", 0.0)
    return any(value is False for value in node.args) and any(word in name for word in ("rnn", "lstm", "gru"))


def _trains_norm(node: torch.fx.Node) -> bool:
    return "batch_norm" in str(node.target) and True in node.args[5:6]


def _op(node: torch.fx.Node) -> str:
    return str(node.target).removesuffix(".default")


def refused(what: str, place: Place | None) -> ExportError:
    """Return the error that says what is wrong, and where in the network."""
    return ExportError(f"{what}\n  in {place}" if place is not None else what)
