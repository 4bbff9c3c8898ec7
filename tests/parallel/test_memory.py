"""`lighter summary --memory` against fits on several processes: the most bytes of tensors that each of them has."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lighter import Runner
from lighter.config import read
from lighter.engine.memory import estimate_memory
from lighter.engine.project import importable
from tests.forks import launch
from tests.parallel.fits import PROCESSES
from tests.test_docs import ROOT

EXAMPLE = ROOT / "examples/parallel"
WORDS = {
    "ddp": ["gpt.yaml", "trainer::strategy=ddp", "trainer::devices=2"],
    "fsdp": ["parallel.yaml"],
    "both": ["parallel.yaml", "parallel::tensor=2"],
}


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:FSDP2-wrapped module")
@pytest.mark.parametrize("kind", WORDS)
def test_the_estimate_is_within_a_tenth_of_each_process(kind: str, own_place: Path) -> None:
    file, *words = WORDS[kind]
    # so that weights, gradients and activations all count
    config = [str(EXAMPLE / file), *words, "vars::width=128", "vars::batch=2", "trainer::max_steps=3"]
    more = ["trainer::callbacks=[{_target_: tests.parallel.jobs.Peak}]", "trainer::limit_val_batches=0"]
    launch(lambda: Runner().run("fit", [*config, *more]), PROCESSES[kind], None)
    measured = [json.loads(path.read_text()) for path in own_place.glob("peak-*.json")]
    assert len(measured) == PROCESSES[kind]
    with importable(read(config), own_place):
        estimate = estimate_memory(read(config)).peak
    assert measured == [pytest.approx(estimate, rel=0.1)] * len(measured)
