"""`both`: run an experiment from YAML and by hand, and compare. Each test runs with both trainers."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from pytorch_lightning.loops.optimization.automatic import Closure

from tests.lightning.compare import TRAINERS, Run, by_hand, config_of, same, with_lighter
from tests.slow import mostly_slow


@pytest.fixture(params=mostly_slow(reversed(TRAINERS)))
def trainer(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def both(trainer: str) -> Iterator[Callable[..., tuple[Run, Run]]]:
    def run(text: str, stage: str = "fit", **arguments: Any) -> tuple[Run, Run]:
        config = config_of(text, trainer)
        with warnings.catch_warnings():  # Lightning's advice to modules that only train
            warnings.filterwarnings("ignore", "You passed in a `val_dataloader` but have no `validation_step`")
            ours, plain = with_lighter(config, stage, **arguments), by_hand(config, stage, **arguments)
        Closure.warning_cache.clear()  # what Lightning says once per process, other tests want to hear too
        same(ours, plain)
        return ours, plain

    yield run
    torch.use_deterministic_algorithms(False)  # what `deterministic: true` sets, Lightning leaves on
