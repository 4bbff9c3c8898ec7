"""Workers of dataloaders stay when a signal comes, and one that died is named."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import MethodType
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from lighter.cli.stage import run_stage
from lighter.errors import WorkerError
from lighter.processes import signals
from lighter.trainer.stopping.dataloader_workers import let_workers_stay
from lighter.trainer.stopping.graceful import Stopping
from tests.jobs import loader
from tests.trainer.stopping.jobs import Module, trainer


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.slow
def test_a_worker_that_is_only_starting_stays_too(method: str) -> None:
    for _ in range(5 if method == "fork" else 1):
        data = DataLoader(TensorDataset(torch.zeros(8)), num_workers=2, multiprocessing_context=method)
        theirs = data.multiprocessing_context
        with signals.stop_signals():
            let_workers_stay([data])
            batches = iter(data)
            for worker in batches._workers:  # type: ignore[attr-defined]
                os.kill(worker.pid, signal.SIGTERM)
            assert len(list(batches)) == 8
        assert data.multiprocessing_context.get_start_method() == theirs.get_start_method() == method


class Mortal(Dataset):
    """A worker that loads the tenth sample ends."""

    def __init__(self, how: str) -> None:
        self.how = how

    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> Any:
        if index == 10 and torch.utils.data.get_worker_info() is not None:
            if self.how == "exit":
                os._exit(3)
            os.kill(os.getpid(), signal.Signals[self.how])
        return torch.zeros(64), torch.tensor(index % 10)


# torch raises in a handler of signals, perhaps while it opens files to see whether there are too many
OPENED = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")


@OPENED
@pytest.mark.parametrize(
    ("stage", "how", "said"),
    [
        ("fit", "SIGKILL", "of the train dataloader (process {pid}) was ended by SIGKILL. Something outside killed it"),
        ("validate", "SIGBUS", "of the val dataloader (process {pid}) was ended by SIGBUS. Usually the shared memory"),
        ("test", "SIGSEGV", "of the test dataloader (process {pid}) was ended by SIGSEGV. Compiled code crashed"),
        ("predict", "exit", "of the predict dataloader (process {pid}) ended with exit code 3. With num_workers=0"),
    ],
)
def test_a_worker_that_died_is_named(stage: str, how: str, said: str, tmp_path: Path) -> None:
    data = DataLoader(Mortal(how), batch_size=4, num_workers=2)
    job = trainer([], tmp_path, num_sanity_val_steps=0)
    with pytest.raises(WorkerError) as died:
        getattr(job, stage)(Module(), *[data] * (2 if stage == "fit" else 1))
    before, _, after = said.partition("{pid}")
    assert str(died.value).startswith(f"Worker 0 of 2 {before}")
    assert after in str(died.value)
    assert data.worker_init_fn is None
    assert data.multiprocessing_context is None


@OPENED
def test_a_worker_of_a_validation_that_died_is_named(tmp_path: Path) -> None:
    data = [loader(0, 64), DataLoader(Mortal("SIGKILL"), batch_size=4, num_workers=2)]
    with pytest.raises(WorkerError, match="Worker 0 of 2 of the val dataloader 1"):
        trainer([], tmp_path, num_sanity_val_steps=-1).fit(Module(), loader(0, 64), data)


def test_a_death_told_while_another_error_leaves_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch raises its error in a signal handler, which may run in the context manager's own code."""

    @contextmanager
    def interrupted(self: Any) -> Iterator[None]:
        yield

    def leaves(self: Any, *_: Any) -> None:
        raise RuntimeError("DataLoader worker (pid 4711) is killed by signal: Killed.")

    monkeypatch.setattr(Stopping, "of_stage", interrupted)
    module = Module()
    module.on_train_start = MethodType(leaves, module)  # type: ignore[method-assign]
    with pytest.raises(WorkerError, match=r"A dataloader's worker \(process 4711\) died"):
        trainer([], tmp_path).fit(module, loader(0, 64), loader(0, 64))


def test_the_command_names_it_without_a_traceback(
    config: dict[str, Any], own_place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    dataset = {"_target_": "tests.trainer.stopping.test_workers.Mortal", "how": "SIGKILL"}
    config["data"]["train_dataloader"] |= {"dataset": dataset, "num_workers": 2, "shuffle": False}
    assert run_stage("fit", [config], {}) == 1  # type: ignore[list-item]
    said = capfd.readouterr().err
    assert "A worker of a dataloader died.\n\nWorker 0 of 2 of the train dataloader" in said
    assert not re.search(r"^[\w.]*(Runtime|Worker)Error", said, re.MULTILINE)  # workers may have their own


@pytest.mark.parametrize("stage", ["fit", "validate", "test", "predict"])
def test_dataloaders_that_fail_when_they_begin_fail_for_that(stage: str, tmp_path: Path) -> None:
    class Fails(IterableDataset):
        def __iter__(self) -> Any:
            raise OSError("of the user's")

    others = [loader(0, 64)] if stage == "fit" else []
    with pytest.raises(OSError, match="of the user's"):
        getattr(trainer([], tmp_path), stage)(Module(), DataLoader(Fails(), batch_size=4), *others)
