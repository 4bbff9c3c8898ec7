"""The schemas of single targets: what a call may have, as far as its signature can be believed."""

from __future__ import annotations

import collections
import json
import pathlib

import pytest
import pytorch_lightning as pl
import torch
import torchmetrics

import lighter.callbacks
from lighter.config import passed_on
from lighter.config.signatures import BY_NAME, signature_of, wrong_value
from lighter.editor.calls import Target, definition_schema
from lighter.editor.values import argument_schema
from tests.config import callables, targets
from tests.editor.test_values import VALUES, takes

jsonschema = pytest.importorskip("jsonschema")

MODULES = [
    torch.nn,
    torch.optim,
    torch.optim.lr_scheduler,
    torchmetrics.classification,
    pl.callbacks,
    lighter.callbacks,
]
CALLED = [
    *(getattr(module, name) for module in MODULES for name in dir(module) if name[0].isupper()),
    *(lighter.Trainer, lighter.System, torch.utils.data.DataLoader, torch.utils.data.random_split, torch.softmax),
    *(pathlib.PosixPath, collections.Counter, int, dict, map, callables.PassesAllOn, targets.typed, targets.Decorated),
]


def test_sources_are_read_only_where_a_constructor_of_lighters_may_get_what_is_passed_on(monkeypatch):
    read = []
    monkeypatch.setattr(passed_on, "_call_of_super", read.append)
    assert passed_on.with_passed_on(torchmetrics.classification.MulticlassF1Score) is None
    assert read == []
    passed_on.with_passed_on(callables.PassesAllOn)
    assert read == [callables.PassesAllOn]


def schema_of(called, **options):
    return definition_schema("a.b", Target(called, **options), is_layered=False)


def test_every_target_has_a_schema():
    assert len(CALLED) > 250
    for called in CALLED:
        schema = schema_of(called)
        json.dumps(schema)
        jsonschema.Draft202012Validator.check_schema(schema)


def test_no_value_that_a_library_takes_is_marked():
    arguments = {}
    for called in CALLED:
        signature = signature_of(called)
        for item in signature.parameters.values() if signature is not None and signature.is_exact else ():
            if item.kind in BY_NAME:
                arguments[repr((item.annotation, item.default))] = item
    assert len(arguments) > 200
    for item in arguments.values():
        schema = argument_schema(item)
        marked = [value for value in VALUES if wrong_value(item, value) is None and not takes(schema, value)]
        assert marked == [], f"{item}: {schema}"


def test_other_arguments_are_open_only_where_the_check_leaves_them_open():
    for called in (torch.nn.Linear, lighter.Trainer, callables.PassesAllOn, targets.typed):
        assert schema_of(called)["additionalProperties"] is False
    for called in (
        collections.Counter,
        torchmetrics.classification.MulticlassAccuracy,
        targets.Decorated,
        torch.softmax,
    ):
        assert schema_of(called)["additionalProperties"] == {"$ref": "#/$defs/value"}


def test_what_the_engine_fills_in_may_be_anything():
    assert "type" in schema_of(torch.optim.lr_scheduler.StepLR)["properties"]["optimizer"]
    filled = schema_of(torch.optim.lr_scheduler.StepLR, filled={"optimizer"})["properties"]["optimizer"]
    assert "type" not in filled
    assert filled["description"].startswith("Optimizer, no default\n\nWrapped optimizer")
