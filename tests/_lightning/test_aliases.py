"""Private names of a base class under public ones."""

from __future__ import annotations

from typing import Any

from lighter._lightning.aliases import Renamed, alias


class Theirs:
    def __init__(self) -> None:
        self._count = 0

    def run(self) -> list[str]:
        return self._step("run")

    def _step(self, caller: str) -> list[str]:
        return [caller, "theirs"]


class Base(Renamed, Theirs):
    count: int = alias("_count")
    step = Theirs._step


class Ours(Base):
    def step(self, caller: str) -> list[str]:
        return [*super().step(caller), "ours"]

    def other(self) -> None: ...


class Again(Ours):
    def step(self, caller: str) -> Any:
        return [*super().step(caller), "again"]


def test_an_override_under_the_public_name_is_called_by_the_private_one() -> None:
    assert Base().run() == ["run", "theirs"]
    assert Ours().run() == ["run", "theirs", "ours"]
    assert Again().run() == ["run", "theirs", "ours", "again"]


def test_an_attribute_is_read_and_written_under_the_public_name() -> None:
    ours = Ours()
    ours.count += 2
    assert ours._count == ours.count == 2
