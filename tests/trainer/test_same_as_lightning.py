"""The lean loops do what Lightning's do: the same calls in the same order with the same arguments, bit for bit."""

from __future__ import annotations

import multiprocessing
import shutil
import signal
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import (
    BasePredictionWriter,
    EarlyStopping,
    GradientAccumulationScheduler,
    LearningRateMonitor,
    ModelCheckpoint,
    StochasticWeightAveraging,
    Timer,
)
from pytorch_lightning.loops.optimization.automatic import Closure
from pytorch_lightning.plugins.precision import Precision
from pytorch_lightning.strategies import SingleDeviceStrategy
from pytorch_lightning.utilities import CombinedLoader
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch.optim.lr_scheduler import ExponentialLR, ReduceLROnPlateau
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import lighter
from tests.trainer.recording import (
    CALLBACK_HOOKS,
    MODULE_HOOKS,
    Net,
    Recording,
    RecordingLogger,
    RecordingSGD,
    describe,
    recording_callback,
    recording_module,
)

pytestmark = pytest.mark.filterwarnings("ignore")


class Stream(IterableDataset):
    """Samples without a length."""

    def __iter__(self) -> Any:
        return iter(dataset())


def dataset(samples: int = 28) -> TensorDataset:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(samples, 4, generator=generator)
    return TensorDataset(x, (x.sum(1) > 0).long())


def shuffled() -> DataLoader:
    return DataLoader(dataset(), batch_size=4, shuffle=True)


def val_loaders(n: int = 1) -> Any:
    loaders = [DataLoader(dataset(10 + 3 * i), batch_size=4) for i in range(n)]
    return loaders if n > 1 else loaders[0]


class Manual(Net):
    """Two optimizers, by hand."""

    def __init__(self, recording: Recording | None = None, **options: Any) -> None:
        super().__init__(recording, **options)
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        for optimizer in self.optimizers():
            optimizer.zero_grad()
            loss = self.loss(batch)
            self.manual_backward(loss)
            optimizer.step()
        self.log("train/loss", loss)
        return {"loss": loss, "extra": batch_idx}

    def configure_optimizers(self) -> Any:
        return [RecordingSGD(self.net[0].parameters(), lr=0.1), RecordingSGD(self.net[3].parameters(), lr=0.01)]


class Skipping(Net):
    """Some steps return None, and the second epoch ends early."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return None if batch_idx % 3 == 1 else super().training_step(batch, batch_idx)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> Any:
        return -1 if self.current_epoch == 1 and batch_idx == 4 else None


class Returning(Net):
    """Returns a dict, takes no index, and moves its batches itself."""

    def training_step(self, batch: Any) -> Any:
        loss = super().training_step(batch, 0)
        return {"pred": batch[0].mean(), "loss": loss, "batch": batch}

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return [batch[0] * 2, batch[1]]


class Changing(Net):
    """Changes the list that it gets, which the loader gives again in the next epoch."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        batch[0] = batch[0] + 1
        return super().training_step(batch, batch_idx)


class Batches:
    """A loader that is no DataLoader."""

    def __init__(self, batches: list) -> None:
        self.batches = batches

    def __iter__(self) -> Any:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


class Warmup(Net):
    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
        for group in optimizer.param_groups:
            group["lr"] = 0.01 * (self.global_step + 1)
        optimizer.step(closure=optimizer_closure)


class Lbfgs(Net):
    def configure_optimizers(self) -> Any:
        return torch.optim.LBFGS(self.parameters(), lr=0.1, max_iter=3)


class Dicts(Net):
    """Batches from two loaders at once."""

    def loss(self, batch: Any) -> Any:
        return super().loss(batch["a"]) + super().loss(batch["b"]) if isinstance(batch, dict) else super().loss(batch)


class Stopping(Net):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        if self.global_step == 9:
            self.trainer.should_stop = True
        return super().training_step(batch, batch_idx)


class Failing(Net):
    error: type[BaseException] = RuntimeError

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        if self.global_step == 9:
            raise self.error("enough")
        return super().training_step(batch, batch_idx)


class Interrupted(Failing):
    error = KeyboardInterrupt


class Coming(pl.Callback):
    """Brings another callback in the middle of an epoch, and leaves in the middle of another."""

    def __init__(self, other: pl.Callback) -> None:
        self.other = other

    def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
        if trainer.global_step == 3:
            trainer.callbacks.append(self.other)
        if trainer.global_step == 9:
            trainer.callbacks.remove(self)


class Writer(BasePredictionWriter):
    def __init__(self) -> None:
        super().__init__("batch_and_epoch")
        self.seen: list = []

    def write_on_batch_end(self, trainer: Any, module: Any, prediction: Any, indices: Any, *args: Any) -> None:
        self.seen.append(describe([prediction, indices, *args]))

    def write_on_epoch_end(self, trainer: Any, module: Any, predictions: Any, indices: Any) -> None:
        self.seen.append(describe([predictions, indices]))


class SubclassOfStrategy(SingleDeviceStrategy):
    """It might override anything."""


class SubclassOfPrecision(Precision):
    """It too."""


class DataModule(pl.LightningDataModule):
    def train_dataloader(self) -> Any:
        return shuffled()

    def val_dataloader(self) -> Any:
        return val_loaders()

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return [batch[0] + 1, batch[1]]


class Job(NamedTuple):
    """A run: a class of module and its options, the trainer's arguments, and its data."""

    module: type[Net] = Net
    options: dict[str, Any] = {}
    trainer: dict[str, Any] = {}
    callbacks: Callable[[Path], list] = lambda folder: []
    train: Callable[[], Any] = shuffled
    val: Callable[[], Any] | None = val_loaders


def plateau(interval: str, monitor: str) -> Callable[[Any], dict]:
    return lambda optimizer: {
        "scheduler": ReduceLROnPlateau(optimizer, patience=0),
        "monitor": monitor,
        "interval": interval,
        "strict": False,
    }


def by_step(optimizer: Any) -> dict:
    return {"scheduler": ExponentialLR(optimizer, 0.9), "interval": "step", "frequency": 2}


JOBS = {
    "plain": Job(),
    "logs nothing": Job(options={"logs": False}),
    "no validation": Job(val=None),
    "accumulation": Job(trainer={"accumulate_grad_batches": 3}),
    "accumulation by epoch": Job(callbacks=lambda _: [GradientAccumulationScheduler({0: 1, 1: 2})]),
    "clip by norm": Job(trainer={"gradient_clip_val": 0.1}),
    "clip by value": Job(trainer={"gradient_clip_val": 0.1, "gradient_clip_algorithm": "value"}),
    "three validation loaders": Job(val=lambda: val_loaders(3)),
    "schedule by step": Job(options={"schedule": by_step}, callbacks=lambda _: [LearningRateMonitor("step")]),
    "schedule by epoch": Job(options={"schedule": lambda o: ExponentialLR(o, 0.5)}),
    "schedule by step, accumulating": Job(options={"schedule": by_step}, trainer={"accumulate_grad_batches": 2}),
    "plateau by epoch": Job(options={"schedule": plateau("epoch", "val/loss")}),
    "plateau by step": Job(options={"schedule": plateau("step", "train/loss_step")}),
    "manual, two optimizers": Job(module=Manual),
    "validation within the epoch": Job(trainer={"val_check_interval": 0.4}),
    "validation across epochs": Job(trainer={"val_check_interval": 5, "check_val_every_n_epoch": None}),
    "validation by time": Job(trainer={"val_check_interval": "00:00:01:00"}),
    "validation every other epoch": Job(trainer={"check_val_every_n_epoch": 2}),
    "max_steps": Job(trainer={"max_steps": 9, "max_epochs": -1}),
    "min_steps, stopping": Job(module=Stopping, trainer={"min_steps": 12}),
    "stopping": Job(module=Stopping),
    "limits": Job(trainer={"limit_train_batches": 3, "limit_val_batches": 1}),
    "limits as shares": Job(trainer={"limit_train_batches": 0.5, "limit_val_batches": 0}),
    "early stopping": Job(callbacks=lambda _: [EarlyStopping("val/loss", patience=0, min_delta=10.0)]),
    "skipped steps": Job(module=Skipping),
    "checkpoints": Job(callbacks=lambda folder: [ModelCheckpoint(folder, every_n_train_steps=2, save_top_k=-1)]),
    "best checkpoints": Job(callbacks=lambda folder: [ModelCheckpoint(folder, monitor="val/loss", save_last=True)]),
    "overfit": Job(trainer={"overfit_batches": 2}),
    "fast_dev_run": Job(trainer={"fast_dev_run": 2}),
    "averaged weights": Job(callbacks=lambda _: [StochasticWeightAveraging(0.05, swa_epoch_start=1)]),
    "timer": Job(callbacks=lambda _: [Timer("00:01:00:00", interval="step")]),
    "an error": Job(module=Failing),
    "a keyboard interrupt": Job(module=Interrupted),
    "no length": Job(train=lambda: DataLoader(Stream(), batch_size=4), val=lambda: DataLoader(Stream(), batch_size=8)),
    "two loaders at once": Job(module=Dicts, train=lambda: {"a": shuffled(), "b": val_loaders()}),
    "the shorter of two": Job(module=Dicts, train=lambda: CombinedLoader({"a": shuffled(), "b": val_loaders()})),
    "lists of batches": Job(module=Changing, train=lambda: Batches(list(shuffled()))),
    "a dict returned": Job(module=Returning),
    "a data module": Job(train=DataModule, val=None),
    "optimizer_step": Job(module=Warmup),
    "a closure called often": Job(module=Lbfgs),
    "bf16-mixed": Job(trainer={"precision": "bf16-mixed"}),
    "bf16-true": Job(trainer={"precision": "bf16-true"}),
    "64-true": Job(trainer={"precision": "64-true"}, val=None),
    "loaders made anew": Job(trainer={"reload_dataloaders_every_n_epochs": 1}),
    "barebones": Job(trainer={"barebones": True}),
    "anomalies": Job(trainer={"detect_anomaly": True}),
    "no log interval": Job(trainer={"log_every_n_steps": 0}),
    "inference": Job(trainer={"log_every_n_steps": 3, "num_sanity_val_steps": 0}),
}

BUT_ONE = [name for name in MODULE_HOOKS if name != "optimizer_step"]  # with it, Lightning's own optimization runs
SEEN = {  # which hooks the callbacks and the module override
    "no hooks": ((), ()),
    "all hooks but optimizer_step": (CALLBACK_HOOKS, BUT_ONE),
    "all hooks": (CALLBACK_HOOKS, MODULE_HOOKS),
    "all hooks of callbacks": (CALLBACK_HOOKS, ()),
    "all hooks of modules": ((), BUT_ONE),
}
SEEN_BY = [*list(SEEN)[:2], *(pytest.param(seen, marks=pytest.mark.slow) for seen in list(SEEN)[2:])]


def run(
    trainer_class: type[pl.Trainer],
    job: Job,
    folder: Path,
    hooks: tuple[Collection[str], Collection[str]],
    *,
    ckpt_path: Path | None = None,
    **more: Any,
) -> Recording:
    """Fit, and record."""
    recording = Recording()
    folder.mkdir()
    torch.manual_seed(5)
    module = recording_module(job.module, recording, hooks[1])(recording, **job.options)
    bare = job.trainer.get("barebones")
    given = {
        "max_epochs": 3,
        "accelerator": "cpu",
        "log_every_n_steps": 2,
        "callbacks": [*job.callbacks(folder / "checkpoints"), recording_callback(recording, hooks[0])],
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "default_root_dir": folder,
        "logger": RecordingLogger(recording, folder),
        **job.trainer,
        **more,
    }
    if bare:
        given = {key: given[key] for key in ("max_epochs", "accelerator", "callbacks", "default_root_dir", "barebones")}
    elif not any(isinstance(callback, ModelCheckpoint) for callback in given["callbacks"]):
        given["enable_checkpointing"] = False
    own = {} if trainer_class is pl.Trainer else {"exact_resume": False}  # Lightning's random numbers
    trainer = trainer_class(**given, **own)
    train = job.train()
    data = {"datamodule": train} if isinstance(train, DataModule) else {"train_dataloaders": train}
    if job.val is not None:
        data["val_dataloaders"] = job.val()
    try:
        trainer.fit(module, **data, ckpt_path=ckpt_path)
    except (RuntimeError, SystemExit) as error:
        recording.result = describe(error)
    recording.weights = describe(module.state_dict())
    recording.checkpoint = describe(trainer._checkpoint_connector.dump_checkpoint())
    recording.events.append(("end", "random", describe(torch.get_rng_state()), describe(trainer.callback_metrics)))
    assert trainer_class is pl.Trainer or trainer.loop_choice.is_lean, trainer.loop_choice
    return recording


@pytest.fixture(autouse=True)
def _warns_again() -> Any:
    """Lightning warns once in a process; other tests are to see it too."""
    yield
    Closure.warning_cache.clear()


def infer(trainer_class: type[pl.Trainer], stage: str, loaders: Any, writes: bool, folder: Path) -> Recording:
    """Validate, test or predict, and record."""
    recording = Recording()
    torch.manual_seed(5)
    module = recording_module(Net, recording, BUT_ONE)(recording)
    writer = Writer()
    trainer = trainer_class(
        accelerator="cpu",
        log_every_n_steps=2,
        callbacks=[recording_callback(recording), *([writer] if writes else [])],
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=folder,
        logger=RecordingLogger(recording, folder),
        limit_test_batches=2,
    )
    recording.result = describe([getattr(trainer, stage)(module, loaders, **more) for more in ({}, {})]), writer.seen
    assert trainer_class is pl.Trainer or trainer.loop_choice.is_lean
    return recording


def assert_same(ours: Recording, theirs: Recording) -> None:
    for number, (mine, expected) in enumerate(zip(ours.events, theirs.events, strict=False)):
        assert mine[:2] == expected[:2], f"call {number}: {mine[:2]} instead of {expected[:2]}"
        assert mine == expected, f"call {number}: {mine[:2]}"
    assert len(ours.events) == len(theirs.events)
    assert ours.weights == theirs.weights
    assert ours.checkpoint == theirs.checkpoint
    assert ours.result == theirs.result


@pytest.mark.parametrize("seen", SEEN_BY)
@pytest.mark.parametrize("name", JOBS)
def test_a_fit_is_the_same(name: str, seen: str, tmp_path: Path) -> None:
    theirs = run(pl.Trainer, JOBS[name], tmp_path / "run", SEEN[seen])
    shutil.rmtree(tmp_path / "run")  # the same place for both, as checkpoints know where they are
    ours = run(lighter.Trainer, JOBS[name], tmp_path / "run", SEEN[seen])
    assert len(theirs.events) > 20 or seen == "no hooks"
    assert_same(ours, theirs)


@pytest.mark.parametrize("hook", [*dict.fromkeys([*CALLBACK_HOOKS, *MODULE_HOOKS])])
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


SAVING = Job(
    options={"schedule": by_step},
    trainer={"accumulate_grad_batches": 2, "max_epochs": 2, "val_check_interval": 3},
    callbacks=lambda folder: [
        ModelCheckpoint(folder, filename="{step}-{epoch}", every_n_train_steps=1, save_top_k=-1, save_last=True),
        ModelCheckpoint(folder, filename="val-{step}", monitor="val/loss", save_top_k=-1),
    ],
)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[type[pl.Trainer], dict[str, Path]]:
    """The checkpoints of the same fit by both trainers, by name."""
    found = {}
    for trainer_class in (pl.Trainer, lighter.Trainer):
        folder = tmp_path_factory.mktemp("saved") / "run"
        run(trainer_class, SAVING, folder, SEEN["no hooks"])
        found[trainer_class] = {path.name: path for path in sorted((folder / "checkpoints").glob("*.ckpt"))}
    return found


def test_checkpoints_are_the_same(saved: dict) -> None:
    ours, theirs = saved[lighter.Trainer], saved[pl.Trainer]
    assert ours.keys() == theirs.keys()
    assert len(ours) > 8
    for name, path in theirs.items():
        mine, expected = (torch.load(p, weights_only=False) for p in (ours[name], path))
        assert list(mine) == list(expected)
        for checkpoint in (mine, expected):
            checkpoint["callbacks"] = list(checkpoint["callbacks"])  # their states name the folder
        assert describe(mine) == describe(expected), name


@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.slow)])
def test_checkpoints_go_both_ways(every: int, saved: dict, tmp_path: Path) -> None:
    """Each trainer goes on from the checkpoints of each, and all end the same."""
    names = list(saved[pl.Trainer])[::every]
    for name in names:
        reference = None
        for saver in (pl.Trainer, lighter.Trainer):
            for resumer in (pl.Trainer, lighter.Trainer):
                job = SAVING._replace(callbacks=lambda _: [], trainer={**SAVING.trainer, "max_epochs": 3})
                resumed = run(
                    resumer, job, tmp_path / "run", SEEN["all hooks of callbacks"], ckpt_path=saved[saver][name]
                )
                shutil.rmtree(tmp_path / "run")
                resumed.events = [event for event in resumed.events if event[1] != "on_load_checkpoint"]
                reference = reference or resumed
                assert_same(resumed, reference)


@pytest.mark.parametrize("loaders", [1, 3])
@pytest.mark.parametrize("stage", ["validate", "test", "predict"])
def test_inference_is_the_same(stage: str, loaders: int, tmp_path: Path) -> None:
    ours, theirs = (
        infer(trainer_class, stage, val_loaders(loaders), stage == "predict", tmp_path)
        for trainer_class in (lighter.Trainer, pl.Trainer)
    )
    assert len(theirs.events) > 20
    assert_same(ours, theirs)


def test_predictions_that_are_not_kept(tmp_path: Path) -> None:
    class Silent(Net):
        def predict_step(self, batch: Any) -> Any:
            return None if batch[0][0, 0] > 0 else [batch[0], {"a": batch[1]}]

    results = []
    for trainer_class in (lighter.Trainer, pl.Trainer):
        trainer = trainer_class(accelerator="cpu", logger=False, enable_progress_bar=False, default_root_dir=tmp_path)
        module = Silent()
        results.append(describe([trainer.predict(module, val_loaders()), trainer.predict_loop.predictions]))
        assert trainer.predict(module, val_loaders(), return_predictions=False) is None
    assert results[0] == results[1]


CHOICES = {
    "the profiler": ({"profiler": "simple"}, "SimpleProfiler times every hook"),
    "the strategy": ({"strategy": SubclassOfStrategy()}, "the strategy is SubclassOfStrategy"),
    "the precision": ({"plugins": SubclassOfPrecision()}, "the precision is SubclassOfPrecision"),
}


@pytest.mark.parametrize("name", CHOICES)
def test_what_needs_lightnings_loop_gets_it_and_says_so(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    more, reason = CHOICES[name]
    caplog.set_level("INFO", "lighter")
    trainer = lighter.Trainer(default_root_dir=tmp_path, max_epochs=2, enable_progress_bar=False, **more)
    trainer.fit(Net(), shuffled(), val_loaders())
    assert trainer.loop_choice == ("lightning", reason)
    told = [record.message for record in caplog.records if record.name == "lighter"]
    assert told == ["resume: exact", f"Lightning's own training loop runs: {reason}"]


def test_the_iterator_is_lightnings(tmp_path: Path) -> None:
    class Iterating(Net):
        def training_step(self, dataloader_iter: Any) -> Any:
            return self.loss(next(dataloader_iter)[0])

    trainer = lighter.Trainer(default_root_dir=tmp_path, accelerator="cpu", max_epochs=1, enable_progress_bar=False)
    trainer.fit(Iterating(), shuffled())
    assert trainer.loop_choice == ("lightning", "the step takes the iterator of batches")


def test_logging_every_hook_is_lightnings(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "pytorch_lightning.trainer.call")
    trainer = lighter.Trainer(default_root_dir=tmp_path, accelerator="cpu", max_epochs=1, enable_progress_bar=False)
    trainer.fit(Net(), shuffled())
    assert trainer.loop_choice.name == "lightning"
    assert "Trainer: calling lightning module hook: on_train_batch_end" in caplog.messages


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


class Dumping(pl.Callback):
    """Leaves what a process recorded in a file, at the end of a fit."""

    def __init__(self, recording: Recording, folder: Path) -> None:
        self.recording, self.folder = recording, folder

    def on_fit_end(self, trainer: Any, module: Any) -> None:
        weights = describe(module.state_dict())
        (self.folder / f"{trainer.global_rank}.txt").write_text(repr([self.recording.events, weights]))


@pytest.fixture
def waits_at_most_four_minutes() -> Iterator[None]:
    """Processes that wait for each other are a failure, and not a run of the tests without an end."""

    def stop(*_: Any) -> None:
        raise TimeoutError("the processes wait for each other")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(240)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
    for process in multiprocessing.active_children():
        process.kill()


@pytest.mark.slow
@pytest.mark.usefixtures("waits_at_most_four_minutes")
@pytest.mark.parametrize("hooks", ["no hooks", "all hooks but optimizer_step"])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_two_processes_are_the_same(accumulate: int, hooks: str, tmp_path: Path) -> None:
    found = {}
    for trainer_class in (pl.Trainer, lighter.Trainer):
        folder = tmp_path / trainer_class.__module__
        folder.mkdir()
        recording = Recording()
        torch.manual_seed(5)
        trainer = trainer_class(
            accelerator="cpu",
            devices=2,
            strategy="ddp_fork",
            max_epochs=2,
            accumulate_grad_batches=accumulate,
            log_every_n_steps=2,
            callbacks=[recording_callback(recording, SEEN[hooks][0]), Dumping(recording, folder)],
            logger=RecordingLogger(recording, folder),
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            default_root_dir=folder,
        )
        trainer.fit(recording_module(Net, recording, SEEN[hooks][1])(recording), shuffled(), val_loaders())
        found[trainer_class] = [(folder / f"{rank}.txt").read_text() for rank in range(2)]
    assert found[lighter.Trainer] == found[pl.Trainer]
    assert found[pl.Trainer][0] != found[pl.Trainer][1]
    assert "on_train_batch_end" in found[pl.Trainer][0] or hooks == "no hooks"
