"""What the tests of several processes share: these are forks of the test's own, and find done what it has done."""

from __future__ import annotations

import gc
import os
import warnings
from unittest.mock import patch

import pytest

from lighter import Runner
from tests.parallel.fits import config


@pytest.fixture(scope="session")
def first_fit(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Fit once, in this process: imports and caches of a first fit take each fork longer than its own fit."""
    with pytest.MonkeyPatch.context() as patched, patch.dict(os.environ), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patched.chdir(tmp_path_factory.mktemp("first"))
        Runner().run("fit", config("one", steps=1))
    gc.collect()
    gc.freeze()
