"""The module and the line at which an exported program begins to differ from the network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram
from torch.utils._pytree import tree_flatten

from lighter.exporting.calls import Call
from lighter.exporting.differences import same
from lighter.exporting.dimensions import Input
from lighter.exporting.formats import converted_to_onnx, session_of
from lighter.exporting.places import Names, Place


class Values(fx.Interpreter):
    """Run a graph and keep what each node gives."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module, garbage_collect_values=False)
        self.values: dict[str, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        self.values[n.name] = value.clone() if isinstance(value, Tensor) else value
        return value


def changing_module(network: nn.Module, call: Call, names: Names) -> Place | None:
    """Return the first module that gives something else of the same inputs when called again; None if none does."""
    with _outputs_of(network) as first:
        one = call.copied().run(network)
    with _outputs_of(network) as second:
        other = call.copied().run(network)
    for (path, inputs, output), (_, inputs_again, output_again) in zip(first, second, strict=False):
        if _same(inputs, inputs_again) and not _same(output, output_again):
            return names.of_forward(path)
    return None if _same(one, other) else names.of_forward("")


def differing_in_graph(program: ExportedProgram, network: nn.Module, call: Call, names: Names) -> Place | None:
    """Return the first module whose output no node of a program has."""
    with torch.no_grad(), _outputs_of(network) as outputs:
        call.copied().run(network)
    nodes, values = _values(program, call)
    for path, _, output in outputs:
        scope = [node for node in nodes if path in [name for name, _ in node.meta.get("nn_module_stack", {}).values()]]
        has_it = any(_same(values[node.name], output) for node in scope)
        if scope and isinstance(output, Tensor) and not has_it:
            return names.of_node(scope[-1].meta)
    return None


def differing_in_onnx(
    program: ExportedProgram, call: Call, inputs: Sequence[Input], outputs: Sequence[str], names: Names
) -> Place | None:
    """Return the first node that onnxruntime computes differently."""
    import onnx

    converted = converted_to_onnx(program, [each.name for each in inputs], outputs, names, optimize=False)
    assert converted.exported_program is not None  # it was made of one
    nodes, values = _values(converted.exported_program, call)
    model = converted.model_proto
    made = {name for node in model.graph.node for name in node.output}
    named = [node for node in nodes if node.name in made and isinstance(values[node.name], Tensor)]
    already = {value.name for value in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=node.name) for node in named if node.name not in already)
    session = session_of(model.SerializeToString(), optimized=False)
    feed = {each.name: tensor.numpy() for each, tensor in zip(inputs, call.tensors, strict=True)}
    wanted = {value.name for value in session.get_inputs()}
    results = session.run([node.name for node in named], {name: feed[name] for name in wanted})
    for node, result in zip(named, results, strict=True):
        if not _same(values[node.name], torch.from_numpy(result)):
            return names.of_node(node.meta)
    return None


def _values(program: ExportedProgram, call: Call) -> tuple[list[fx.Node], dict[str, Any]]:
    module = program.module()
    assert isinstance(module, fx.GraphModule)  # what torch documents
    interpreter = Values(module)
    with torch.no_grad():
        interpreter.run(*tree_flatten((call.args, call.kwargs))[0], enable_io_processing=False)
    nodes = [node for node in module.graph.nodes if node.op == "call_function"]
    return [node for node in nodes if node.name in interpreter.values], interpreter.values


@contextmanager
def _outputs_of(network: nn.Module) -> Iterator[list[tuple[str, Any, Any]]]:
    """Record inputs and output of each module's calls, in the order in which they end."""
    calls: list[tuple[str, Any, Any]] = []

    def record(path: str) -> Any:
        def hook(_: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            calls.append((path, Call(args, kwargs).copied(), Call((output,), {}).copied().args[0]))

        return hook

    handles = [part.register_forward_hook(record(path), with_kwargs=True) for path, part in network.named_modules()]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _same(one: Any, other: Any) -> bool:
    pair = [each.tensors if isinstance(each, Call) else each for each in (one, other)]
    with suppress(TypeError, RuntimeError):  # not comparable
        return same(*pair)
    return False
