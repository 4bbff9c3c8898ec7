"""Dataloaders over tensors index whole batches in `lighter.Trainer`: the same bits, order and draws."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import CombinedLoader
from torch import Tensor, nn
from torch.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    DistributedSampler,
    RandomSampler,
    Sampler,
    StackDataset,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
    get_worker_info,
    random_split,
)
from torch.utils.data._utils.collate import collate_tensor_fn, default_collate_fn_map

import lighter
from lighter._lightning.dataloaders import running_loaders
from lighter.parts.collate import collate_with_none
from lighter.trainer import batch_indexing
from lighter.trainer.batch_indexing import BatchIndexing, WholeBatches
from lighter.trainer.resume import samplers
from tests.slow import one_in
from tests.trainer.resume.test_samplers import epoch

SIZE = 23
pytestmark = pytest.mark.filterwarnings(
    "ignore:'pin_memory' argument is set as true but no accelerator",
    "ignore:.*sampler has shuffling enabled",
    "ignore:You defined a `validation_step` but have no",
    "ignore:Sparse",
    "ignore:.*quantiz",
)
LOADED_WITH = ("dataset", "collate_fn", "batch_sampler", "sampler", "batch_size", "drop_last")


def numbers(*shape: int, size: int = SIZE) -> Tensor:
    return torch.randn(size, *shape, generator=torch.Generator().manual_seed(size))


def tensors(size: int = SIZE) -> TensorDataset:
    return TensorDataset(numbers(4, size=size), (numbers(size=size) > 0).long())


class Doubling(TensorDataset):
    """One of the user's, which gives something else."""

    def __getitem__(self, index: int) -> Any:
        return tuple(tensor * 2 for tensor in super().__getitem__(index))


class AtOnce(Doubling):
    """One that loads a batch at a time."""

    asked = 0

    def __getitems__(self, indices: list[int]) -> list[Any]:
        self.asked += 1
        return [self[index] for index in indices]


class Tagged(Tensor):
    """A tensor of the user's."""


def subset(indices: Any) -> Subset:
    return Subset(tensors(), indices)


def changed(dataset: Any, **attributes: Any) -> Any:
    vars(dataset).update(attributes)
    return dataset


def with_nan() -> Tensor:
    tensor = numbers(3).double()
    tensor[::2], tensor[1::4] = float("nan"), -0.0
    return tensor


INDEXED: dict[str, Callable[[], Any]] = {
    "tensors": tensors,
    "one tensor": lambda: TensorDataset(numbers(2, 3)),
    "a plain tensor": lambda: numbers(2),
    "a plain vector": numbers,
    "NaN and negative zeros": lambda: TensorDataset(with_nan(), with_nan().to(torch.bfloat16), numbers(1).half()),
    "other types": lambda: TensorDataset(numbers(3) > 0, (numbers(2) * 9).to(torch.uint8), numbers(2).to(torch.cfloat)),
    "images, channels last": lambda: TensorDataset(numbers(3, 4, 5).to(memory_format=torch.channels_last)),
    "rows that are not contiguous": lambda: TensorDataset(numbers(6, 4).transpose(1, 2)[:, 1:3], numbers(2)[:, 0]),
    "rows that overlap": lambda: TensorDataset(numbers(1).expand(SIZE, 7)),
    "empty rows": lambda: TensorDataset(numbers(0), numbers()),
    "conjugates": lambda: TensorDataset(numbers(3).to(torch.cfloat).conj(), numbers(3).to(torch.cfloat).conj().imag),
    "a list of indices": lambda: subset([5, 1, 1, 22, 0, 7, 9, 9, 3, 4]),
    "a range of indices": lambda: subset(range(20, 3, -2)),
    "an array of indices": lambda: subset(np.arange(SIZE)[::-1]),
    "a tensor of indices": lambda: subset(torch.arange(SIZE).flip(0)),
    "random_split": lambda: random_split(tensors(), [0.7, 0.3], torch.Generator().manual_seed(1))[0],
    "a subset of a subset": lambda: Subset(subset(list(range(3, 20))), list(range(10, 0, -1))),
    "a subset of a tensor": lambda: Subset(numbers(2), [3, 2, 1, 2, 3]),
    "datasets": lambda: ConcatDataset([tensors(5), tensors(1), tensors(9)]),
    "datasets, one empty": lambda: ConcatDataset([tensors(5), subset([]), tensors(9)]),
    "nested datasets": lambda: ConcatDataset([subset([4, 2]), ConcatDataset([tensors(6), subset(range(8))])]),
    "a subset of datasets": lambda: Subset(ConcatDataset([tensors(9), tensors(8)]), [16, 0, 8, 9, 3, 3, 12]),
    "tensors together": lambda: ConcatDataset([numbers(2, size=5), numbers(2, size=6)]),
}
ONE_BY_ONE: dict[str, Callable[[], Any]] = {  # some are not known before there is a batch
    "a subclass": lambda: Doubling(*tensors().tensors),
    "a subset of a subclass": lambda: Subset(Doubling(*tensors().tensors), range(9)),
    "batches by the dataset": lambda: AtOnce(*tensors().tensors),
    "pairs": lambda: list(zip(*tensors().tensors, strict=True)),
    "stacked datasets": lambda: StackDataset(a=tensors(), b=numbers(2)),
    "negative indices of a subset": lambda: subset([-1, 3, -4, 5, 0]),
    "negative indices of datasets": lambda: Subset(ConcatDataset([tensors(9), tensors(8)]), [-1, 0, -17, 3]),
    "small integers of NumPy": lambda: subset(np.arange(SIZE, dtype=np.int32)),
    "integers of NumPy": lambda: subset(list(np.arange(SIZE))),
    "gradients": lambda: TensorDataset(numbers(2).requires_grad_()),
    "a tensor of the user's": lambda: TensorDataset(numbers(2).as_subclass(Tagged)),
    "a parameter": lambda: TensorDataset(nn.Parameter(numbers(2), requires_grad=False)),
    "quantized": lambda: TensorDataset(torch.quantize_per_tensor(numbers(2), 0.1, 0, torch.qint8)),
    "datasets of other types": lambda: ConcatDataset([numbers(2, size=9), numbers(2, size=9).double()]),
}


def by_size(**more: Any) -> Callable[[Any], DataLoader]:
    return lambda dataset: DataLoader(dataset, **{"batch_size": 4, **more})


def drawn(kind: Callable[..., Any], **more: Any) -> Callable[[Any], DataLoader]:
    return lambda dataset: DataLoader(dataset, batch_size=4, sampler=kind(dataset), **more)


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(8)


class Evens(Sampler):
    """A batch sampler of the user's, which gives anything."""

    def __init__(self, size: int, kind: Callable[[list[int]], Any]) -> None:
        self.size, self.kind = size, kind

    def __iter__(self) -> Iterator[Any]:
        return (self.kind([at, at + 2, at]) for at in range(0, self.size - 2, 2))


LOADERS: dict[str, Callable[[Any], DataLoader]] = {
    "in order": by_size(),
    "shuffled": by_size(shuffle=True),
    "shuffled by a generator": lambda dataset: DataLoader(dataset, batch_size=4, shuffle=True, generator=seeded()),
    "one by one": lambda dataset: DataLoader(dataset, shuffle=True),
    "all at once": lambda dataset: DataLoader(dataset, batch_size=100, shuffle=True),
    "the last dropped": by_size(drop_last=True, shuffle=True),
    "of a whole number of batches": lambda dataset: DataLoader(dataset, batch_size=len(dataset), shuffle=True),
    "drawn with repetition": drawn(lambda d: RandomSampler(d, replacement=True, num_samples=11)),
    "drawn more often": drawn(lambda d: RandomSampler(d, num_samples=2 * len(d) + 1)),
    "drawn of a part": drawn(lambda d: RandomSampler(d, num_samples=3, generator=torch.Generator().manual_seed(2))),
    "by weights": drawn(lambda d: WeightedRandomSampler([1.0] * len(d), 9)),
    "a random part": drawn(lambda d: SubsetRandomSampler(range(3))),
    "of several processes": drawn(lambda d: DistributedSampler(d, num_replicas=2, rank=1)),
    "the user's batches": lambda d: DataLoader(d, batch_sampler=BatchSampler(RandomSampler(d), 3, True)),
    "pinned": by_size(pin_memory=True),
    "None kept": by_size(collate_fn=collate_with_none),
}
OTHER_LOADERS: dict[str, Callable[[Any], DataLoader]] = {
    "the user's collate function": by_size(collate_fn=lambda samples: default_collate(samples)),
    "no batches": lambda dataset: DataLoader(dataset, batch_size=None),
    "a subclass": lambda dataset: type("Mine", (DataLoader,), {})(dataset, batch_size=4),
    "tuples": lambda dataset: DataLoader(dataset, batch_sampler=Evens(len(dataset), tuple)),
    "arrays": lambda dataset: DataLoader(dataset, batch_sampler=Evens(len(dataset), np.array)),
    "tensors": lambda dataset: DataLoader(dataset, batch_sampler=Evens(len(dataset), torch.tensor)),
}


def described(batch: Any) -> Any:
    """All of a batch that code can see, its bits as bytes."""
    if isinstance(batch, Tensor):
        whole = batch.detach()
        bits = whole.int_repr() if whole.is_quantized else whole.resolve_conj().resolve_neg().contiguous()
        data = bits.reshape(-1).view(torch.uint8).numpy().tobytes() if bits.numel() else b""
        flags = batch.requires_grad, batch.is_leaf, batch.is_conj(), batch.is_neg(), batch.is_inference()
        layout = batch.layout, batch.device, batch.stride(), batch.storage_offset(), batch.untyped_storage().nbytes()
        return type(batch), batch.dtype, batch.shape, *layout, *flags, data
    if isinstance(batch, dict):
        return type(batch), {key: described(value) for key, value in batch.items()}
    return type(batch), [described(item) for item in batch] if isinstance(batch, (list, tuple)) else batch


def iterated(make: Callable[[], DataLoader], *, by_loop: bool) -> list[Any]:
    """Two epochs, and what the generators are left with."""
    torch.manual_seed(4)
    loader, seen = make(), []
    before = {name: vars(loader)[name] for name in LOADED_WITH}
    for _ in range(2):
        with BatchIndexing().begun(CombinedLoader(loader) if by_loop else None):
            iterator = iter(loader)
        assert all(vars(loader)[name] is value for name, value in before.items())
        seen += [[described(batch) for batch in iterator], torch.get_rng_state().tolist()]
    if isinstance(generator := getattr(loader.sampler, "generator", None), torch.Generator):
        seen.append(generator.get_state().tolist())
    return seen


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many batches were asked for at once, and how many of these were loaded one by one after all."""
    counts: Counter[str] = Counter()
    at_once, usual = WholeBatches.__getitems__, WholeBatches._one_by_one
    monkeypatch.setattr(WholeBatches, "__getitems__", lambda *args: (counts.update(["at once"]), at_once(*args))[1])
    monkeypatch.setattr(WholeBatches, "_one_by_one", lambda *args: (counts.update(["one by one"]), usual(*args))[1])
    return counts


def assert_same(loaders: Mapping[str, Callable[[Any], DataLoader]], dataset: Callable[[], Any]) -> None:
    for name, loader in loaders.items():

        def make(loader: Callable[[Any], DataLoader] = loader) -> DataLoader:
            return loader(dataset())

        assert iterated(make, by_loop=True) == iterated(make, by_loop=False), name


@pytest.mark.parametrize("dataset", one_in(4, INDEXED))
def test_the_same_batches_of_a_loader(dataset: str, loaded: Counter[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_indexing, "SAMPLES_PER_PART", 0)
    assert_same(LOADERS, INDEXED[dataset])
    assert loaded["at once"] > 0
    assert not loaded["one by one"]


@pytest.mark.parametrize(("parts", "kind"), [(2, "at once"), (3, "one by one")])
def test_a_batch_of_many_datasets_is_loaded_one_by_one(parts: int, kind: str, loaded: Counter[str]) -> None:
    dataset = ConcatDataset([tensors(20 // parts) for _ in range(parts)])
    assert_same({"all": by_size(batch_size=20)}, lambda: dataset)
    assert loaded == {"at once": 2} if kind == "at once" else {"at once": 2, "one by one": 2}


def test_other_loaders_load_as_ever() -> None:
    assert_same(OTHER_LOADERS, tensors)
    assert_same(OTHER_LOADERS, lambda: subset(list(range(17))))


@pytest.mark.parametrize("dataset", one_in(4, ONE_BY_ONE))
def test_other_datasets_load_as_ever(dataset: str) -> None:
    assert_same(LOADERS, ONE_BY_ONE[dataset])


FAULTY: dict[str, Callable[[], Any]] = {
    "beyond the end": lambda: subset([3, SIZE]),
    "far before the start": lambda: subset([3, -SIZE - 1]),
    "beyond the end of datasets": lambda: Subset(ConcatDataset([tensors(3), tensors(2)]), [0, 5]),
    "before the start of datasets": lambda: Subset(ConcatDataset([tensors(3), tensors(2)]), [0, -6]),
    "an index that is none": lambda: subset([3, "a"]),
    "a number too large": lambda: subset([2**70, 3]),
    "a subset that shrank": lambda: changed(subset([1, 2, 3]), __len__=None, indices=[[], [1]]),
    "tensors that shrank": lambda: Subset(changed(tensors(), tensors=(numbers(2)[:2], numbers()[:5])), [4, 3]),
    "sparse": lambda: TensorDataset(numbers(3).to_sparse()),
    "sparse rows": lambda: TensorDataset(numbers(3).to_sparse_csr()),
    "rows of other sizes": lambda: ConcatDataset([numbers(2, size=2), numbers(3, size=2)]),
    "tuples of other sizes": lambda: ConcatDataset([tensors(2), TensorDataset(numbers(4, size=2))]),
    "tuples and tensors": lambda: ConcatDataset([tensors(2), numbers(4, size=2)]),
}


@pytest.mark.parametrize("dataset", FAULTY)
def test_errors_are_torchs(dataset: str) -> None:
    errors = []
    for by_loop in (True, False):
        with pytest.raises(Exception) as caught:
            iterated(lambda: DataLoader(FAULTY[dataset](), batch_size=4), by_loop=by_loop)
        errors.append((caught.type, str(caught.value)))
    assert errors[0] == errors[1]


def test_batches_share_no_memory_with_the_dataset() -> None:
    dataset = tensors()
    loader = DataLoader(dataset, batch_size=SIZE)
    with BatchIndexing().begun(CombinedLoader(loader)):
        iterator = iter(loader)
    next(iterator)[0].zero_()
    assert torch.equal(dataset.tensors[0], tensors().tensors[0])


def test_changes_of_the_dataset_are_seen_within_an_epoch() -> None:
    dataset = subset(list(range(12)))
    loader = DataLoader(dataset, batch_size=4)
    with BatchIndexing().begun(CombinedLoader(loader)):
        iterator = iter(loader)
    next(iterator)
    dataset.indices[4:8] = [0, 0, 0, 0]
    dataset.dataset.tensors = (torch.zeros(SIZE, 1),)
    (rows,) = next(iterator)
    assert torch.equal(rows, torch.zeros(4, 1))
    dataset.dataset = numbers(2)
    assert torch.equal(next(iterator), numbers(2)[8:12])


@pytest.mark.parametrize("kind", [Tensor, tuple, object])
def test_an_extension_of_the_default_collate_is_used(kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(default_collate_fn_map, kind, lambda batch, *, collate_fn_map=None: "mine")

    def make() -> DataLoader:
        return DataLoader(tensors(), batch_size=4)

    ours = iterated(make, by_loop=True)
    assert ours == iterated(make, by_loop=False)
    assert "mine" in str(ours)
    assert default_collate_fn_map[Tensor] is not collate_tensor_fn or kind is not Tensor


def sees_dataset(worker: int) -> None:
    """A worker's init function."""
    dataset: Any = get_worker_info().dataset  # type: ignore[union-attr]
    dataset.tensors = (torch.zeros(SIZE),)


@pytest.mark.slow
@pytest.mark.parametrize("more", [{}, {"persistent_workers": True}, {"worker_init_fn": sees_dataset}], ids=str)
def test_workers(more: dict[str, Any]) -> None:
    def make() -> DataLoader:
        return DataLoader(tensors(), batch_size=4, shuffle=True, num_workers=2, **more)

    assert iterated(make, by_loop=True) == iterated(make, by_loop=False)


def test_what_workers_get_can_be_sent_to_spawned_ones() -> None:
    loader = DataLoader(subset([3, 4]), num_workers=1)
    with BatchIndexing().begun(CombinedLoader(loader)):
        whole, collate_fn = pickle.loads(pickle.dumps((loader.dataset, loader.collate_fn)))
    assert type(whole) is WholeBatches
    assert described(collate_fn(whole.__getitems__([1, 0]))) == described(
        default_collate([loader.dataset[1], loader.dataset[0]])
    )


# In fits


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
