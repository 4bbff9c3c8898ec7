"""Each private name that Lighter uses is what Lighter relies on, in the Lightning that is installed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torchmetrics

from lighter._lightning.versions import TESTED, is_tested, lightning_version
from tests._lightning.contracts import CONTRACTS, Facts
from tests._lightning.private_names import outside_the_room, room_names

pytestmark = pytest.mark.filterwarnings("ignore")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Facts]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("contracts"))
        yield Facts()


@pytest.mark.parametrize("name", CONTRACTS)
def test_a_private_name_is_what_lighter_relies_on(name: str, facts: Facts) -> None:
    contract = CONTRACTS[name]
    try:
        holds, found = contract.holds(facts), ""
    except (Exception, AssertionError) as error:  # noqa: BLE001  whatever has become of it
        holds, found = False, f" ({type(error).__name__}: {error})"
    versions = f"Lightning {lightning_version()}, torch {torch.__version__}, torchmetrics {torchmetrics.__version__}"
    assert holds, f"`{name}` is not what Lighter needs it for, {contract.purpose}, in {versions}{found}"


def test_every_private_name_that_the_room_uses_has_a_contract() -> None:
    names = room_names()
    assert len(names) > 80
    missing = {name: files for name, files in names.items() if name not in CONTRACTS}
    assert not missing


def test_no_private_name_of_another_package_is_used_outside_the_room() -> None:
    assert sorted(outside_the_room(set(CONTRACTS))) == []


@pytest.mark.parametrize(
    ("version", "expected"),
    {"2.6.6": True, "2.6.12": True, "2.6.5": False, "2.7.0": False, "2.7": False, "3.0.0rc1": False}.items(),
)
def test_the_tested_versions(version: str, expected: bool) -> None:
    assert is_tested(version) is expected


def test_the_project_states_the_tested_versions() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    stated = re.findall(r'"(?:pytorch-)?lightning([<>=][^"]+)"', text)
    assert stated == [TESTED, TESTED]
