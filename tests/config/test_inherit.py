"""Entries by mode that take what the mode before them has."""

from __future__ import annotations

from typing import Any

import pytest

from lighter.config.inherit import by_mode

MODES = ("train", "val", "test")
F1 = {"_target_": "F1", "classes": 3, "average": "micro"}
MACRO = {**F1, "average": "macro"}
AUC = {"_target_": "AUC"}
BOTH = {"a": F1, "b": AUC}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (F1, {"train": F1, "val": F1, "test": F1}),
        (BOTH, {"train": BOTH, "val": BOTH, "test": BOTH}),
        ({"train": F1}, {"train": F1, "val": F1, "test": F1}),
        ({"val": F1}, {"val": F1, "test": F1}),
        ({"train": F1, "val": {"average": "macro"}}, {"train": F1, "val": MACRO, "test": MACRO}),
        ({"train": F1, "test": {"average": "macro"}}, {"train": F1, "val": F1, "test": MACRO}),
        ({"train": F1, "val": AUC}, {"train": F1, "val": AUC, "test": AUC}),
        (
            {"train": {"a": F1}, "val": {"b": AUC}},
            {"train": {"a": F1}, "val": BOTH, "test": BOTH},
        ),
        (
            {"train": {"a": F1}, "val": {"a": {"average": "macro"}}, "test": None},
            {"train": {"a": F1}, "val": {"a": MACRO}},
        ),
        ({"train": F1, "val": None, "test": AUC}, {"train": F1, "test": AUC}),
        ({"train": F1, "val": [{"average": "macro"}, AUC]}, {"train": F1, "val": [MACRO, AUC], "test": [MACRO, AUC]}),
        (
            {"val": [F1, AUC], "test": {"classes": 9}},
            {"val": [F1, AUC], "test": [{**F1, "classes": 9}, {**AUC, "classes": 9}]},
        ),
        ({"val": [F1, AUC], "test": AUC}, {"val": [F1, AUC], "test": AUC}),
        ({"valid": AUC}, {"valid": AUC}),  # and no metric called `valid` in every mode
        ({"train": F1, "valid": AUC}, {"train": F1, "valid": AUC}),
        ("@vars::metric", dict.fromkeys(MODES, "@vars::metric")),
    ],
)
def test_by_mode(given: Any, expected: Any) -> None:
    assert by_mode(given, MODES) == expected
