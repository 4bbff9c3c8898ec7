"""The two formats of an exported program: written to a folder, and run from there as their users will run them."""

from __future__ import annotations

import json
import logging
import re
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.utils._pytree import tree_flatten, tree_unflatten

from lighter.config.problems import Problem
from lighter.errors import ConfigError, ExportError
from lighter.exporting.calls import Call, template
from lighter.exporting.dimensions import Input
from lighter.exporting.load_pt2 import fill
from lighter.exporting.places import Names

_NODE = re.compile(r"serializing node (\w+) in graph")
Runs = Callable[[Call, Any], Any]
"""Run an artifact on the inputs of a call; the network's own output says which structure the result has."""


class Format(ABC):
    """A format: the file's name, and how it is written and run."""

    file: str

    needs: Sequence[str] = ()

    def require(self) -> None:
        """Raise a `ConfigError` if a package is missing."""
        missing = [name for name in self.needs if find_spec(name) is None]
        if missing:
            raise ConfigError([Problem(f"this needs {', '.join(missing)}: pip install 'lighter[onnx]'")])

    @abstractmethod
    def write(
        self, program: ExportedProgram, folder: Path, inputs: Sequence[Input], outputs: Sequence[str], names: Names
    ) -> None:
        """Write a program into a folder, with these names of its inputs and outputs."""

    @abstractmethod
    def load(self, folder: Path, inputs: Sequence[Input]) -> Runs:
        """Load what was written."""


class Pt2(Format):
    """`torch.export`: a program that torch runs without the code of the network."""

    file = "model.pt2"

    def write(
        self, program: ExportedProgram, folder: Path, inputs: Sequence[Input], outputs: Sequence[str], names: Names
    ) -> None:
        if program.example_inputs is not None:
            _through_json(Call(*program.example_inputs), inputs)  # refuses what torch would not load quietly
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                torch.export.save(program, folder / self.file)
            except OSError:
                raise
            except Exception as error:  # torch raises what its parts do
                raise ExportError(_unsaved(error, program, names)) from error

    def load(self, folder: Path, inputs: Sequence[Input]) -> Runs:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = torch.export.load(folder / self.file).module()

        def run(call: Call, like: object) -> Any:
            # its `load.py` makes the arguments of its `export.json` again, which have to be what torch expects
            args, kwargs = _through_json(call, inputs)
            with torch.no_grad():
                return module(*args, **kwargs)

        return run


def _through_json(call: Call, inputs: Sequence[Input]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    names = [each.name for each in inputs]
    written = json.loads(json.dumps(template(call, names)))
    try:
        return fill(written, dict(zip(names, call.tensors, strict=True)))
    except KeyError as error:
        raise ExportError(
            f"the network is called with a {error.args[0]}, which `load.py` cannot make for a pt2."
            " Tensors, numbers, strings and None can be exported, in dicts, lists and tuples"
        ) from error


class Onnx(Format):
    """ONNX, run by onnxruntime."""

    file = "model.onnx"
    needs = ("onnx", "onnxscript", "onnxruntime")

    def write(
        self, program: ExportedProgram, folder: Path, inputs: Sequence[Input], outputs: Sequence[str], names: Names
    ) -> None:
        converted = converted_to_onnx(program, [each.name for each in inputs], outputs, names)
        # without `external_data`, weights of more than 2 GB go to a file beside it, as ONNX cannot hold them
        converted.save(str(folder / self.file))
        _name_dimensions(folder / self.file, inputs)

    def load(self, folder: Path, inputs: Sequence[Input]) -> Runs:
        session = session_of(str(folder / self.file))
        wanted = [value.name for value in session.get_inputs()]

        def run(call: Call, like: object) -> Any:
            feed = {each.name: tensor.detach().numpy() for each, tensor in zip(inputs, call.tensors, strict=True)}
            try:
                results = session.run(None, {name: feed[name] for name in wanted})
            except Exception as error:  # onnxruntime's own classes are private
                raise ExportError(f"onnxruntime cannot run it: {_first_line(error)}") from error
            leaves, spec = tree_flatten(like)
            rest = iter(results)
            return tree_unflatten(
                [torch.from_numpy(next(rest)) if isinstance(leaf, Tensor) else leaf for leaf in leaves], spec
            )

        return run


FORMATS: dict[str, Format] = {"pt2": Pt2(), "onnx": Onnx()}


def converted_to_onnx(
    program: ExportedProgram, inputs: Sequence[str], outputs: Sequence[str], names: Names, *, optimize: bool = True
) -> torch.onnx.ONNXProgram:
    """Convert a program to ONNX.

    Raises:
        ExportError: ONNX has no such operation.
    """
    with warnings.catch_warnings(), _quiet():
        warnings.simplefilter("ignore")
        try:
            converted = torch.onnx.export(
                program, dynamo=True, input_names=inputs, output_names=outputs, verbose=False, optimize=optimize
            )
        except Exception as error:  # torch's converter raises what its parts do
            raise ExportError(_unconverted(error, program, names)) from error
    if converted is None:  # pragma: no cover  only of the converter that is not asked for
        raise ExportError("torch.onnx.export returned nothing")
    return converted


@contextmanager
def _quiet() -> Iterator[None]:
    # it warns of packages that it has operations for and that are not there
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _unsaved(error: BaseException, program: ExportedProgram, names: Names) -> str:
    first, named = _first_line(error), _NODE.search(str(error))
    node = next((node for node in program.graph.nodes if named is not None and node.name == named[1]), None)
    if "namedtuple" in first:
        kind = f"the network returns or takes a named tuple, whose class torch would need to load the file: {first}"
        return f"{kind}\n  in {names.of_forward('')}\n  A dict or a plain tuple can be exported."
    if node is None:
        return f"torch.export.save fails: {first}"
    operation = getattr(node.target, "__name__", str(node.target))
    return f"torch.export.save has no form for `{operation}`\n  in {names.of_node(node.meta)}"


def _unconverted(error: BaseException, program: ExportedProgram, names: Names) -> str:
    texts = []
    cause: BaseException | None = error
    while cause is not None:
        texts.append(str(cause))
        cause = cause.__cause__
    for node in program.run_decompositions().graph.nodes:
        marks = (f"%{node.name} :", f"'{node.name}'", f"node {node.name} ")
        if node.op == "call_function" and any(mark in text for text in texts for mark in marks):
            operation = str(node.target).removesuffix(".default")
            return f"torch.onnx has no translation of {operation} to ONNX\n  in {names.of_node(node.meta)}"
    return f"torch.onnx.export fails: {texts[-1].strip().partition(chr(10))[0]}"


def session_of(source: str | bytes, *, optimized: bool = True) -> Any:
    """Load a file, or its bytes, into onnxruntime.

    Raises:
        ExportError: it cannot be loaded, as onnxruntime lacks an operation for a type, say.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if not optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own classes are private
        raise ExportError(f"onnxruntime cannot load it: {_first_line(error)}") from error


def _name_dimensions(path: Path, inputs: Sequence[Input]) -> None:
    """Call dimensions `batch` and the like, where the converter called them `s40`."""
    import onnx

    model = onnx.load(path, load_external_data=False)
    renamed: dict[str, str] = {}
    for value, each in zip(model.graph.input, inputs, strict=True):
        for dimension, size in zip(value.type.tensor_type.shape.dim, each.shape, strict=True):
            if isinstance(size, str) and dimension.dim_param.isidentifier() and each.factor == 1:
                renamed.setdefault(dimension.dim_param, size)
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param:
                dimension.dim_param = re.sub(
                    r"[A-Za-z_]\w*", lambda found: renamed.get(found[0], found[0]), dimension.dim_param
                )
    onnx.save(model, path)


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]
