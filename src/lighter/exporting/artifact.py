"""An exported program in a file, compared with the network that it was made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from lighter.errors import ExportError
from lighter.exporting.calls import Call, dtype_name, output_names
from lighter.exporting.differences import Differences
from lighter.exporting.dimensions import Input
from lighter.exporting.formats import Format, Onnx, Runs
from lighter.exporting.graph import refused, trace
from lighter.exporting.locate import differing_in_graph, differing_in_onnx
from lighter.exporting.places import Names, Place
from lighter.exporting.prepare import Prepared
from lighter.parts.transforms import apply_transforms


@dataclass
class Artifact:
    """A program as its file gives it; `run` is of the file, `network` the original."""

    form: Format
    network: nn.Module
    program: ExportedProgram
    names: Names
    inputs: Sequence[Input]
    outputs: list[str]
    run: Runs
    differences: Differences = field(default_factory=Differences)

    @classmethod
    def write(cls, network: nn.Module, names: Names, prepared: Prepared, form: Format, folder: Path) -> Artifact:
        """Trace a network, write the program, and load it from its file.

        Raises:
            ExportError: it cannot be exported.
            OSError: it cannot be written.
        """
        program = trace(network, prepared.call.copied(), prepared.inputs, names)
        with torch.no_grad():
            outputs = output_names(prepared.call.copied().run(network))
        if not outputs:
            raise refused("the network returns no tensors in containers that torch knows", names.of_forward(""))
        form.write(program, folder, prepared.inputs, outputs, names)
        run = form.load(folder, prepared.inputs)
        return cls(form, network, program, names, prepared.inputs, outputs, run)

    def checked(self, call: Call, expected: Any) -> Any:
        """Run the artifact on a call, and return its output if it is the network's.

        Raises:
            ExportError: it fails, or gives something else.
        """
        try:
            found = self.run(call.copied(), expected)
        except ExportError:
            raise
        except Exception as error:  # torch raises what its operations do
            first = str(error).strip().partition("\n")[0]
            raise ExportError(f"{self._of(call)} fails: {type(error).__name__}: {first}") from error
        wrong = self.differences.add(expected, found)
        if wrong is not None:
            raise refused(f"{self._of(call)} does not give what the network does: {wrong}", self._place(call))
        return found

    def _of(self, call: Call) -> str:
        return f"{self.form.file}, with inputs of shape {_shown(call)},"

    def _place(self, call: Call) -> Place | None:
        try:
            place = differing_in_graph(self.program, self.network, call, self.names)
            if place is None and isinstance(self.form, Onnx):
                place = differing_in_onnx(self.program, call, self.inputs, self.outputs, self.names)
        except Exception:  # noqa: BLE001  it only adds to a message, and runs what has just failed
            return None
        return place

    def described_outputs(self) -> list[dict[str, Any]]:
        """Return name, type and shape of each output; sizes that follow the inputs' have the names of these."""
        nodes = {node.name: node for node in self.program.graph.nodes}
        known: dict[str, str] = {}
        values = [nodes[name].meta["val"] for name in self.program.graph_signature.user_inputs if name in nodes]
        tensors = [value for value in values if isinstance(value, Tensor)]
        for value, each in zip(tensors, self.inputs, strict=False):
            known |= {
                str(size): str(name)
                for size, name in zip(value.shape, each.shape, strict=True)
                if isinstance(name, str)
            }
        found = [nodes[str(name)].meta["val"] for name in self.program.graph_signature.user_outputs if name in nodes]
        return [
            {
                "name": name,
                "dtype": dtype_name(value.dtype),
                "shape": [size if isinstance(size, int) else known.get(str(size), str(size)) for size in value.shape],
            }
            for name, value in zip(self.outputs, (each for each in found if isinstance(each, Tensor)), strict=False)
        ]


def network_fails(error: Exception, call: Call, names: Names) -> ExportError:
    """Return the error of a network that fails in a call itself."""
    first = str(error).strip().partition("\n")[0]
    what = f"the network fails with inputs of shape {_shown(call)}: {type(error).__name__}: {first}"
    return refused(what, names.of_error(error))


def _shown(call: Call) -> str:
    return ", ".join(str(tuple(tensor.shape)) for tensor in call.tensors)


@dataclass
class Standin:
    """Lets artifacts take the place of a network in an evaluation, and compares each of their outputs.

    `core` gives what the network does; `final`, if there is one, what its transforms make of that.
    """

    prepared: Prepared
    core: Artifact
    final: Artifact | None
    pending: list[Call] = field(default_factory=list)

    def check(self, call: Call) -> None:
        """Compare what the artifacts give of a call with what the network gives."""
        try:
            with torch.no_grad():
                output = call.copied().run(self.core.network)
        except Exception as error:
            raise network_fails(error, call, self.core.names) from error
        self._checked(call, output)

    def _checked(self, call: Call, output: Any) -> Any:
        found = self.core.checked(call, output)
        if self.final is not None:
            with torch.no_grad():
                after = apply_transforms(self.prepared.subject.after, output, "pred_transforms")
            self.final.checked(call, after)
        return found

    def before(self, _: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        # a network may change its input in place
        self.pending.append(self.prepared.subject.call(args, kwargs).copied())

    def after(self, _: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any) -> Any:
        return self._checked(self.pending.pop(), output)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Give the artifact's outputs for the network's while this lasts."""
        called = self.prepared.subject.network.called
        handles = [
            called.register_forward_pre_hook(self.before, with_kwargs=True),
            called.register_forward_hook(self.after, with_kwargs=True),
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
