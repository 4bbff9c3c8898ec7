"""Fits whose batches are loaded at once are those of Lightning, and resume."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import CombinedLoader
from torch import Tensor, nn
from torch.utils.data import (
    DataLoader,
    DistributedSampler,
    Subset,
    TensorDataset,
    default_collate,
)

import lighter
from lighter._lightning.dataloaders import running_loaders
from lighter.trainer import batch_indexing
from lighter.trainer.resume import samplers
from tests.slow import one_in
from tests.trainer.indexed_datasets import (
    LOADED_WITH,
    SIZE,
    WARNINGS,
    AtOnce,
    Evens,
    described,
    numbers,
    seeded,
    subset,
    tensors,
)
from tests.trainer.resume.test_samplers import epoch

pytestmark = WARNINGS


class Seeing(pl.LightningModule):
    """Notes the batches of every step, and what a hook finds on the loaders."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 1)
        self.seen: list[Any] = []
        self.fails_at = -1

    def step(self, name: str, batch: Any) -> Tensor:
        self.seen.append((name, described(batch)))
        self.look()
        batches = batch if isinstance(batch[0], list) else [batch]
        return torch.stack([(self.layer(x).squeeze(1) - y).square().mean() for x, y in batches]).mean()

    def look(self) -> None:
        trainer = self.trainer
        for combined in (trainer.train_dataloader, trainer.val_dataloaders, trainer.predict_dataloaders):
            loaders = combined if isinstance(combined, list) else [combined] if combined is not None else []
            for loader in loaders:
                assert type(loader.dataset) in (TensorDataset, Subset)
                assert loader.collate_fn is default_collate

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        if self.global_step == self.fails_at:
            raise RuntimeError("enough")
        return self.step("train", batch)

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.step(f"val {dataloader_idx}", batch)

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.step(f"test {dataloader_idx}", batch)

    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Tensor:
        return self.step(f"predict {dataloader_idx}", batch)

    def on_train_epoch_end(self) -> None:
        state = torch.get_rng_state()
        loader: Any = self.trainer.train_dataloader
        self.seen.append(("own", [described(batch) for batch in (loader if isinstance(loader, DataLoader) else [])]))
        torch.set_rng_state(state)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.01)


class Counting(Seeing):
    """Has the data loaded before the fit begins."""

    def configure_optimizers(self) -> Any:
        assert self.trainer.estimated_stepping_batches == 18
        self.look()
        return super().configure_optimizers()


def loader_of(size: int = SIZE, **more: Any) -> DataLoader:
    return DataLoader(tensors(size), batch_size=4, **{"shuffle": True, **more})


TRAINED: dict[str, Callable[[], Any]] = {
    "shuffled": loader_of,
    "by a generator": lambda: loader_of(generator=seeded()),
    "whole batches by a generator": lambda: loader_of(24, generator=seeded()),
    "in order": lambda: loader_of(shuffle=False),
    "the last dropped": lambda: loader_of(drop_last=True),
    "a subset": lambda: DataLoader(subset(list(range(17))), batch_size=4, shuffle=True),
    "two loaders, one cycles": lambda: [loader_of(), loader_of(9)],
    "the same loader twice": lambda: [loader_of()] * 2,
    "as short as the shortest": lambda: CombinedLoader([loader_of(), loader_of(9)], "min_size"),
    "of processes": lambda: loader_of(shuffle=False, sampler=DistributedSampler(tensors(), num_replicas=2, rank=1)),
    "a sampler without a length": lambda: DataLoader(tensors(), batch_sampler=Evens(9, list)),
}


def trainer_of(kind: type[pl.Trainer], folder: Path, **arguments: Any) -> pl.Trainer:
    ours = {} if kind is pl.Trainer else {"on_non_finite": "continue"}
    return kind(
        **{
            "max_epochs": 3,
            "accelerator": "cpu",
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "default_root_dir": folder,
            **ours,
            **arguments,
        }
    )


def fitted(
    trainer: pl.Trainer, train: Callable[[], Any], kind: type[Seeing] = Seeing, **more: Any
) -> tuple[list[Any], Any]:
    torch.manual_seed(6)
    module = kind()
    trainer.fit(module, train(), [loader_of(5), loader_of(6, shuffle=False)], **more)
    return module.seen, described(list(module.state_dict().values()))


@pytest.mark.parametrize("train", TRAINED)
def test_a_fit_is_lightnings(train: str, tmp_path: Path, loaded: Counter[str]) -> None:
    ours = fitted(trainer_of(lighter.Trainer, tmp_path, exact_resume=False), TRAINED[train])
    theirs = fitted(trainer_of(pl.Trainer, tmp_path), TRAINED[train])
    assert len(theirs[0]) > 12
    assert ours == theirs
    assert loaded["at once"] > 0
    assert not loaded["one by one"]


@pytest.mark.parametrize("arguments", [{}, {"profiler": "simple"}, {"reload_dataloaders_every_n_epochs": 1}], ids=str)
def test_a_fit_by_other_ways_is_lightnings(arguments: dict[str, Any], tmp_path: Path) -> None:
    ours = fitted(trainer_of(lighter.Trainer, tmp_path, exact_resume=False, **arguments), loader_of, Counting)
    assert ours == fitted(trainer_of(pl.Trainer, tmp_path, **arguments), loader_of, Counting)


@pytest.mark.parametrize("stage", ["validate", "test", "predict"])
def test_other_stages_are_lightnings(stage: str, tmp_path: Path, loaded: Counter[str]) -> None:
    seen = []
    for kind in (lighter.Trainer, pl.Trainer):
        torch.manual_seed(6)
        module = Seeing()
        getattr(trainer_of(kind, tmp_path), stage)(module, [loader_of(shuffle=False), loader_of(9, shuffle=False)])
        seen.append(module.seen)
    assert len(seen[1]) == 9
    assert seen[0] == seen[1]
    assert loaded["at once"] > 0
    assert not loaded["one by one"]


@pytest.fixture
def no_indexing(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """A function that switches batches in one go off."""

    def switch_off() -> None:
        for module in (batch_indexing, samplers):
            monkeypatch.setattr(module, "can_index", lambda loader: False)

    return switch_off


class StopAt(pl.Callback):
    """Saves after a batch, and ends the fit."""

    def __init__(self, step: int, path: Path) -> None:
        self.step, self.path = step, path

    def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)
            raise KeyboardInterrupt


@pytest.mark.parametrize("train", one_in(3, (name for name in TRAINED if name != "a sampler without a length")))
def test_exact_resume_draws_the_same(
    train: str, tmp_path: Path, no_indexing: Callable[[], None], loaded: Counter[str]
) -> None:
    ours = fitted(trainer_of(lighter.Trainer, tmp_path), TRAINED[train])
    at_once = loaded["at once"]
    assert at_once >= len(ours[0]) - 3
    no_indexing()
    assert ours == fitted(trainer_of(lighter.Trainer, tmp_path), TRAINED[train])
    assert loaded["at once"] == at_once
    assert not loaded["one by one"]


@pytest.mark.parametrize("train", ["shuffled", "by a generator", "in order", "a subset"])
def test_a_fit_resumes_within_an_epoch(train: str, tmp_path: Path) -> None:
    whole, weights = fitted(trainer_of(lighter.Trainer, tmp_path), TRAINED[train])
    path = tmp_path / "stopped.ckpt"
    with pytest.raises(SystemExit):
        fitted(trainer_of(lighter.Trainer, tmp_path, callbacks=[StopAt(8, path)]), TRAINED[train])
    rest, resumed = fitted(trainer_of(lighter.Trainer, tmp_path), TRAINED[train], ckpt_path=path)
    rest = [item for item in rest if item[0] != "own"]
    assert rest == [item for item in whole if item[0] != "own"][-len(rest) :]
    assert rest
    assert resumed == weights


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("step", [2, 8])
def test_a_fit_resumes_whose_data_was_loaded_before_it_began(step: int, workers: int, tmp_path: Path) -> None:
    def trained(kind: type[Seeing], *callbacks: Any, **more: Any) -> tuple[list[Any], Any]:
        trainer = trainer_of(lighter.Trainer, tmp_path, callbacks=list(callbacks))
        seen, weights = fitted(trainer, lambda: loader_of(num_workers=workers), kind, **more)
        return [item for item in seen if item[0] == "train"], weights

    whole = trained(Counting)
    assert whole == trained(Seeing)
    path = tmp_path / "stopped.ckpt"
    with pytest.raises(SystemExit):
        trained(Counting, StopAt(step, path))
    assert trained(Counting, ckpt_path=path) == (whole[0][step:], whole[1])


@pytest.mark.parametrize("exact_resume", [True, False])
@pytest.mark.parametrize("fails_at", [-1, 7])
def test_nothing_is_left_on_the_loaders(exact_resume: bool, fails_at: int, tmp_path: Path) -> None:
    loaders = [loader_of(), loader_of(5), loader_of(6)]
    before = [{name: vars(loader)[name] for name in LOADED_WITH} for loader in loaders]
    module = Seeing()
    module.fails_at = fails_at
    trainer = trainer_of(lighter.Trainer, tmp_path, exact_resume=exact_resume)
    if fails_at == -1:
        trainer.fit(module, loaders[:2], loaders[2])
    else:
        with pytest.raises(RuntimeError, match="enough"):
            trainer.fit(module, loaders[:2], loaders[2])
    for loader, attributes in zip(loaders, before, strict=True):
        assert all(vars(loader)[name] is value for name, value in attributes.items())


@pytest.mark.parametrize("by_position", [True, False])
def test_an_error_of_a_sampler_leaves_nothing_on_the_loader(by_position: bool, tmp_path: Path) -> None:
    def fail(indices: list[int]) -> Any:
        raise RuntimeError("no more")

    loader = DataLoader(tensors(), batch_sampler=Evens(9, fail))
    with pytest.raises(RuntimeError, match="no more"):
        trainer_of(lighter.Trainer, tmp_path, exact_resume=by_position).fit(Seeing(), [loader, loader_of()])
    assert type(loader.dataset) is TensorDataset
    assert type(loader.batch_sampler) is Evens


@pytest.mark.parametrize("exact_resume", [True, False])
def test_a_dataset_that_loads_batches_is_asked_once_per_batch(exact_resume: bool, tmp_path: Path) -> None:
    dataset = AtOnce(*tensors().tensors)
    trainer = trainer_of(lighter.Trainer, tmp_path, exact_resume=exact_resume, max_epochs=1)
    module = Seeing()
    module.look = module.on_train_epoch_end = lambda: None  # type: ignore[method-assign]
    trainer.fit(module, DataLoader(dataset, batch_size=4, shuffle=True))
    assert dataset.asked == 6


@pytest.mark.slow
@pytest.mark.parametrize("exact_resume", [True, False])
def test_a_fit_with_workers_is_known_by_its_loader(exact_resume: bool, tmp_path: Path) -> None:
    class Naming(Seeing):
        workers: list[int] = []

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            self.workers.append(sum(len(loader.workers) for loader in running_loaders(self.trainer)))
            return super().training_step(batch, batch_idx)

    module = Naming()
    more = {"shuffle": True, "num_workers": 1, "persistent_workers": True}
    trainer_of(lighter.Trainer, tmp_path, exact_resume=exact_resume).fit(module, loader_of(**more))
    assert module.workers == [1] * 18


@pytest.mark.parametrize("of", [list, lambda rows: Subset(rows, range(SIZE))])
def test_a_keyed_order_is_that_of_any_dataset(of: Callable[[Tensor], Any]) -> None:
    def batches(dataset: Any, number: int) -> list[list[Any]]:
        return epoch(DataLoader(dataset, batch_size=4, shuffle=True, generator=seeded()), number, skip=1)

    rows = numbers(2)
    for number in range(2):
        assert batches(rows, number) == batches(of(rows), number)
        assert len(batches(rows, number)) == 5
