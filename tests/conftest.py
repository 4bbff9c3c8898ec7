"""A small real job that most tests share: scikit-learn's digits and an MLP, as Python objects and as a config."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from lighter import lightning_alias
from lighter.config import passed_on
from lighter.runs import provenance
from tests import traces

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: two cores are shared by all tests
lightning_alias.install()  # before a test module imports the other package of Lightning
for signum, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(signum) is signal.SIG_IGN:  # by a shell that starts pytest in the background, or `nohup`
        signal.signal(signum, handler)

# A fifth of a small fit is reading what is installed, which no test changes; a tenth is waiting for the disk some
# twenty times, which only a power cut would need
provenance.software = cache(provenance.software)
os.fsync = lambda file: None
passed_on._call_of_super = cache(passed_on._call_of_super)  # a third of a check is parsing the same constructors


def pytest_collection_finish() -> None:
    """Collect garbage among what tests make, not in all of torch, Lightning and the thousands of tests."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def no_trace() -> Iterator[None]:
    """Each test leaves the process as it found it, or fails; the next one finds it so either way."""
    traces.seed()
    traces.forget_variables()
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)  # whatever the test before has set
    before = traces.take()
    yield
    left = traces.put_back(before)
    assert not left, f"it leaves {'; '.join(left)}"


@pytest.fixture(autouse=True)
def own_place(no_trace: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Each test works in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    environment, modules = dict(os.environ), dict(sys.modules)
    yield tmp_path
    traces.forget_runs(tmp_path, environment, modules)


@pytest.fixture
def config() -> dict[str, Any]:
    """A whole experiment: 320 digits for training, 70 for validation, 50 for test."""
    return digits_config()


def digits_config() -> dict[str, Any]:
    metrics = {
        "accuracy": {
            "_target_": "torchmetrics.classification.MulticlassAccuracy",
            "num_classes": 10,
            "average": "micro",
        },
        "f1": {"_target_": "torchmetrics.classification.MulticlassF1Score", "num_classes": 10},
    }

    def loader(start: int, end: int, batch_size: int, shuffle: bool = False) -> dict[str, Any]:
        return {
            "_target_": "torch.utils.data.DataLoader",
            "dataset": {"_target_": "tests.jobs.digits", "start": start, "end": end},
            "batch_size": batch_size,
            "shuffle": shuffle,
        }

    return {
        "seed": 3,
        "vars": {"metrics": metrics},
        "model": {
            "_target_": "tests.jobs.Classifier",
            "network": {"_target_": "tests.jobs.mlp"},
            "criterion": {"_target_": "torch.nn.CrossEntropyLoss"},
            "optimizer": {"_target_": "torch.optim.Adam", "lr": 0.01},
            "train_metrics": "%vars::metrics",
            "val_metrics": "%vars::metrics",
            "test_metrics": "%vars::metrics",
        },
        "data": {
            "_target_": "lighter.LighterDataModule",
            "train_dataloader": loader(0, 320, 32, shuffle=True),
            "val_dataloader": loader(320, 390, 32),
            "test_dataloader": loader(390, 440, 32),
            "predict_dataloader": loader(390, 440, 32),
        },
        "trainer": {"max_epochs": 2, "accelerator": "cpu", "enable_model_summary": False, "log_every_n_steps": 5},
    }
