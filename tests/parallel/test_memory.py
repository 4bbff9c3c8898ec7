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
@pytest.mark.usefixtures("first_fit")
@pytest.mark.filterwarnings("ignore:FSDP2-wrapped module")
def test_the_estimate_is_within_a_tenth_of_each_process(own_place: Path) -> None:
    # so that weights, gradients and activations all count
    more = ["vars::width=128", "vars::layers=2", "vars::batch=2", "trainer::max_steps=2"]
    configs = {kind: [str(EXAMPLE / file), *words, *more] for kind, (file, *words) in WORDS.items()}
    estimates = {}
    for kind, config in configs.items():
        with importable(read(config), own_place):
            estimates[kind] = estimate_memory(read(config)).peak
    # the fits are forks of this process: they are not to meet anything of the estimates' absent processes
    for kind, config in configs.items():
        added = [
            "trainer::callbacks=[{_target_: tests.parallel.jobs.Peak}]",
            "trainer::limit_val_batches=0",
            "trainer::enable_checkpointing=false",
        ]
        launch(lambda words=[*config, *added]: Runner().run("fit", words), PROCESSES[kind], None)
        measured = [json.loads(path.read_text()) for path in own_place.glob("peak-*.json")]
        assert len(measured) == PROCESSES[kind]
        assert measured == [pytest.approx(estimates[kind], rel=0.1)] * len(measured), kind
