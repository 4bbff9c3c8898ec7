"""Our statistics say what SciPy, statsmodels, rliable, deepsig and baycomp say."""

from __future__ import annotations

import pytest

from tests.results.statistics.oracles import ORACLES, asked, gap


@pytest.mark.parametrize("name", [name for name, oracle in ORACLES.items() if not oracle.recorded])
def test_scipy_says_the_same(name: str) -> None:
    assert gap(ORACLES[name].ours(), asked(ORACLES[name])) < 1e-6


@pytest.mark.parametrize("name", [name for name, oracle in ORACLES.items() if oracle.recorded])
def test_what_other_packages_said_is_what_ours_say(name: str) -> None:
    oracle = ORACLES[name]
    assert gap(oracle.ours(), list(oracle.recorded)) < oracle.tolerance


@pytest.mark.parametrize("name", [name for name, oracle in ORACLES.items() if oracle.recorded])
def test_what_is_recorded_is_what_they_say(name: str) -> None:
    pytest.importorskip(ORACLES[name].package)
    assert gap(asked(ORACLES[name]), list(ORACLES[name].recorded)) < ORACLES[name].tolerance
