"""The lean training loop does what Lightning's does: the same calls, in the same order, bit for bit."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loops.optimization.automatic import Closure
from pytorch_lightning.utilities.exceptions import MisconfigurationException

import lighter
from tests.slow import mostly_slow, one_in, slow_but
from tests.trainer.fit_jobs import JOBS
from tests.trainer.fits import SEEN, Job, assert_same, run, shuffled
from tests.trainer.recording import CALLBACK_HOOKS, MODULE_HOOKS, Net, Recording, recording_callback

pytestmark = pytest.mark.filterwarnings("ignore")

QUICK = (  # each of a way of its own through the loops
    *("plain", "metrics, accumulating", "manual, two optimizers", "validation within the epoch", "best checkpoints"),
    *("no length", "optimizer_step", "barebones"),
)
SEEN_BY = mostly_slow(reversed(list(SEEN)[:2])) + mostly_slow(list(SEEN)[2:], 0)


@pytest.fixture(autouse=True)
def _warns_again() -> Any:
    """Lightning warns once in a process; other tests are to see it too."""
    yield
    Closure.warning_cache.clear()


class Coming(pl.Callback):
    """Brings another callback in the middle of an epoch, and leaves in the middle of another."""

    def __init__(self, other: pl.Callback) -> None:
        self.other = other

    def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
        if trainer.global_step == 3:
            trainer.callbacks.append(self.other)
        if trainer.global_step == 9:
            trainer.callbacks.remove(self)


@pytest.mark.parametrize("seen", SEEN_BY)
@pytest.mark.parametrize("name", slow_but(JOBS, *QUICK))
def test_a_fit_is_the_same(name: str, seen: str, tmp_path: Path) -> None:
    theirs = run(pl.Trainer, JOBS[name], tmp_path / "run", SEEN[seen])
    shutil.rmtree(tmp_path / "run")  # the same place for both, as checkpoints know where they are
    ours = run(lighter.Trainer, JOBS[name], tmp_path / "run", SEEN[seen])
    assert len(theirs.events) > 20 or seen == "no hooks"
    assert_same(ours, theirs)


@pytest.mark.parametrize("hook", one_in(5, dict.fromkeys([*CALLBACK_HOOKS, *MODULE_HOOKS])))
def test_a_hook_that_is_alone_is_called_the_same(hook: str, tmp_path: Path) -> None:
    hooks = ([hook] if hook in CALLBACK_HOOKS else [], [hook] if hook in MODULE_HOOKS else [])
    more = {"max_epochs": 1, "limit_train_batches": 4, "accumulate_grad_batches": 2}
    theirs = run(pl.Trainer, JOBS["plain"], tmp_path / "run", hooks, **more)
    shutil.rmtree(tmp_path / "run")
    assert_same(run(lighter.Trainer, JOBS["plain"], tmp_path / "run", hooks, **more), theirs)


def test_callbacks_that_come_and_go(tmp_path: Path) -> None:
    def of(trainer_class: type[pl.Trainer]) -> tuple[Recording, Recording]:
        late = Recording()
        job = Job(callbacks=lambda _: [Coming(recording_callback(late))])
        recording = run(trainer_class, job, tmp_path / trainer_class.__module__, SEEN["no hooks"])
        return recording, late

    (ours, our_late), (theirs, their_late) = of(lighter.Trainer), of(pl.Trainer)
    assert our_late.events == their_late.events
    assert our_late.events
    assert_same(ours, theirs)


def test_an_optimizer_that_ignores_its_closure_is_told_so(tmp_path: Path) -> None:
    class Deaf(torch.optim.SGD):
        def step(self, closure: Any = None) -> None:
            super().step()

    class Module(Net):
        def configure_optimizers(self) -> Any:
            return Deaf(self.parameters(), lr=0.1)

    trainer = lighter.Trainer(default_root_dir=tmp_path, accelerator="cpu", max_epochs=1, enable_progress_bar=False)
    with pytest.raises(MisconfigurationException, match="closure hasn't been executed"):
        trainer.fit(Module(), shuffled())
