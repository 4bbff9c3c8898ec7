"""The schema of an annotation takes what the check takes: the same values, one by one."""

from __future__ import annotations

import enum
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from inspect import Parameter
from typing import Annotated, Any, Literal, NewType, Optional, Union

import pytest
import torch
from pytorch_lightning.loggers import Logger

from lighter.config.signatures import wrong_value
from lighter.editor.values import argument_schema

jsonschema = pytest.importorskip("jsonschema")


class Color(enum.Enum):
    RED = "dark-red"
    BLUE = 2


Size = NewType("Size", int)
Mode = NewType("Mode", Literal["min", "max"])  # as `type Mode = ...` of Python 3.12 is read
VALUES = [
    *(None, True, False, 0, 1, 2, -3, 10**12, 0.5, 1.0, 1e3, 7.5, "", "auto", "min", "RED", "dark_red", "1", "text"),
    *("red", "dark-RED", "BLUE", "blue2", "2"),
    *([], [1], [1, 2], [1, 2, 3], [0.5, "a"], ["a"], [[1]], [None], {}, {"a": 1}, {"a": "b"}, {"a": None}, {1: 2}),
]
ANNOTATIONS = [
    *(Parameter.empty, Any, int, float, bool, complex, str, None, object, dict, list, tuple, pathlib.Path),
    *(
        int | None,
        Optional[float],  # noqa: UP045  as packages write them
        Union[int, str],  # noqa: UP007
        float | torch.Tensor,
        bool | None,
        bool | str,
        bool | int,
    ),
    *(
        Literal["min", "max"],
        Literal["min", 1, None],
        Literal["a"] | None,
        Literal["min"] | float,
        Literal["min"] | str,
    ),
    *(Color, Color | None, Color | int, Annotated[int, "steps"], Size, Size | None, enum.Flag, Mode, Mode | int),
    *(list[int], list[str], list[list[int]], tuple[int, int], tuple[float, float] | float, tuple[int, ...]),
    *(
        tuple[int, int] | tuple[int, int, int],
        Sequence[int] | int,
        Iterable[str],
        set[int],
        list[Any],
        list[int | None],
    ),
    *(dict[str, int], Mapping[str, Any], dict[str, int] | list[str], Mapping[str, float] | None, dict[str, dict]),
    *(Callable, Callable[[int], int], torch.nn.Module, torch.Tensor, torch.device, torch.dtype, Logger | bool | None),
    *(torch.utils.data.Dataset, torch.utils.data.Sampler | None, type, bytes, Exception),
]


def takes(schema: dict, value: object) -> bool:
    # JSON has no keys but texts
    value = {str(key): item for key, item in value.items()} if isinstance(value, dict) else value
    return jsonschema.Draft202012Validator(schema).is_valid(value)


@pytest.mark.parametrize("annotation", ANNOTATIONS, ids=str)
@pytest.mark.parametrize("default", [Parameter.empty, None, 3, "min", (0.9, 0.99)], ids=str)
def test_the_schema_takes_what_the_check_takes(annotation, default):
    item = Parameter("size", Parameter.KEYWORD_ONLY, annotation=annotation, default=default)
    schema, layered = argument_schema(item), argument_schema(item, is_layered=True)
    jsonschema.Draft202012Validator.check_schema(schema)
    for value in VALUES:
        fits = wrong_value(item, value) is None
        assert not fits or takes(schema, value), f"a false error: {value!r} for {annotation}: {schema}"
        assert not fits or takes(layered, value), f"a false error: {value!r} for {annotation}: {layered}"
        assert fits or not takes(schema, value) or is_lenient(annotation, value), (
            f"{value!r} for {annotation}: {schema}"
        )


def is_lenient(annotation: Any, value: object) -> bool:
    """Whether JSON cannot tell: 1 and 1.0 are one number, a dataset is no dict with names, and alternatives mix."""
    several = isinstance(value, list) and str(annotation).count("tuple[") > 1
    is_dataset = isinstance(value, dict) and "Dataset" in str(annotation)
    return several or is_dataset or (type(value) is float and value.is_integer())


@pytest.mark.parametrize("annotation", ANNOTATIONS, ids=str)
def test_what_is_worked_out_later_is_taken_everywhere(annotation):
    schema = argument_schema(Parameter("size", Parameter.KEYWORD_ONLY, annotation=annotation))
    definition = {"_target_": "a.b.C", "size": 3, "_disabled_": True}
    for value in ("@a::b", "%file.yaml::a", "$1 + 1", definition):
        assert takes(schema, value), schema


@pytest.mark.parametrize("text", ["1_000", "-1_0.5", "0b11", "0.000_1", "0x_ff", "1_0e3"])
def test_numbers_that_an_editor_reads_as_text_are_numbers(text):
    for annotation in (int, float, float | None):
        assert takes(argument_schema(Parameter("n", Parameter.KEYWORD_ONLY, annotation=annotation)), text)


def test_choices_and_defaults_are_listed():
    item = Parameter("mode", Parameter.KEYWORD_ONLY, annotation=Literal["min", "max"], default="min")
    schema = argument_schema(item)
    assert schema["anyOf"][0]["enum"] == ["min", "max"]
    assert schema["default"] == "min"
    assert schema["anyOf"][1]["errorMessage"] == "`mode` is 'min' or 'max'"
    assert (
        argument_schema(Parameter("c", Parameter.KEYWORD_ONLY, annotation=Color, default=Color.RED))["default"] == "RED"
    )
    assert "default" not in argument_schema(Parameter("x", Parameter.KEYWORD_ONLY, default=float("inf")))
