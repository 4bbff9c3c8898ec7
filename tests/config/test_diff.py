from __future__ import annotations

from lighter.config.diff import changes, values_by_path


def test_values_by_path() -> None:
    data = {"a": {"b": 1, "c": []}, "d": [2, {"e": None}]}
    assert values_by_path(data) == {"a::b": 1, "a::c": [], "d::0": 2, "d::1::e": None}


def test_changes() -> None:
    before, after = values_by_path({"a": 1, "b": 2, "c": [1]}), values_by_path({"a": 1, "b": 3, "d": 4})
    assert [*changes(before, after)] == [("b", 2, 3), ("c::0", 1, None), ("d", None, 4)]
