"""Fits with one kind of dataloader or another resume from any checkpoint as if nobody had stopped them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.combined_loader import CombinedLoader
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler, random_split
from torchdata.stateful_dataloader import StatefulDataLoader

import lighter
from lighter.trainer.resume.dataloaders import Loaders
from tests.slow import mostly_slow, slow_but

pytestmark = [
    pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no"),
    pytest.mark.filterwarnings("ignore:Your `IterableDataset` has `__len__` defined"),
    pytest.mark.filterwarnings("ignore:.*`dataloader_iter`"),
    pytest.mark.filterwarnings("ignore:.set_vital. is deprecated"),  # torchdata calls it
    pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended"),
]
BATCH = 5


class Noisy(Dataset):
    """A sample's index, and a number that is drawn for it."""

    def __init__(self, size: int = 20) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> tuple[int, float]:
        return int(index), float(torch.rand(()))


class Remembers(Noisy):
    """The same, and how many samples it had served before."""

    served = 0

    def __getitem__(self, index: int) -> tuple[int, float]:
        self.served += 1
        return index, self.served + super().__getitem__(index)[1]

    def state_dict(self) -> dict[str, int]:
        return {"served": self.served}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.served = state["served"]


class Stream(IterableDataset):
    """Samples one after the other: nobody knows where it is."""

    def __init__(self, end: int = 20) -> None:
        self.end = end

    def __iter__(self) -> Iterator[tuple[int, float]]:
        return ((index, float(torch.rand(()))) for index in range(self.end))


class StreamOfLength(Stream):
    """The same, whose length is known."""

    def __len__(self) -> int:
        return self.end


class StreamWithState(IterableDataset):
    """The same, which says where it is."""

    def __init__(self, end: int = 10**9) -> None:
        self.end, self.next = end, 0

    def __iter__(self) -> Iterator[tuple[int, float]]:
        while self.next < self.end:
            self.next += 1
            yield self.next - 1, float(torch.rand(()))
        self.next = 0

    def state_dict(self) -> dict[str, int]:
        return {"next": self.next}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.next = state["next"]


class OwnIterable:
    """Batches of somebody's, as many as it says."""

    def __iter__(self) -> Iterator[list[torch.Tensor]]:
        return ([torch.arange(at, at + BATCH)] for at in range(0, 20, BATCH))

    def __len__(self) -> int:
        return 4


class OwnLoader:
    """A loader that is none of torch's, and says where it is."""

    def __init__(self) -> None:
        self.next = 0

    def __iter__(self) -> Iterator[list[torch.Tensor]]:
        while self.next < 4:
            self.next += 1
            yield [torch.full((2,), self.next)]
        self.next = 0

    def state_dict(self) -> dict[str, int]:
        return {"next": self.next}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.next = state["next"]


class LoaderOfLength(OwnLoader):
    """The same, whose length is known."""

    def __len__(self) -> int:
        return 4


def shuffled(size: int = 20, batch_size: int = BATCH, **more: Any) -> DataLoader:
    return DataLoader(Noisy(size), batch_size, shuffle=True, **more)


class Counts(Sampler):
    """A sampler whose order depends on how often it was asked."""

    asked = 0

    def __len__(self) -> int:
        return 6

    def __iter__(self) -> Iterator[int]:
        self.asked += 1
        return iter([(index + self.asked) % 6 for index in range(6)])


def counted() -> DataLoader:
    return DataLoader(Noisy(6), 3, sampler=Counts())


class Model(pl.LightningModule):
    """Notes what it is trained with, in a list that a resumed fit does not find."""

    served: ClassVar[list[Any]] = []

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        leaves = [part for part in torch.utils._pytree.tree_leaves(batch) if part is not None]
        self.served.append((self.current_epoch, batch_idx, [part.tolist() for part in leaves]))
        return self.layer(torch.cat(leaves).float()[:, None]).mean()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.served.append(("validation", self.global_step, [part.tolist() for part in batch]))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 1e-3)


class Iterates(Model):
    """Asks for its batches itself."""

    def training_step(self, dataloader_iter: Any) -> Any:
        batch, _, _ = next(dataloader_iter)
        return super().training_step(batch, self.global_step)


class Looks(Model):
    """Looks at the training data itself, when an epoch begins and between its batches."""

    def look(self) -> None:
        loaders = self.trainer.train_dataloader
        for loader in loaders.values() if isinstance(loaders, dict) else [loaders]:
            self.looked.append([index for batch in loader for index in batch[0].tolist()])

    looked: ClassVar[list[Any]] = []

    def on_train_epoch_start(self) -> None:
        self.look()

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == 1:
            self.look()


class Keep(pl.callbacks.Checkpoint):
    """Saves after each batch, validation and epoch."""

    def __init__(self, folder: Path | None) -> None:
        self.folder, self.kept = folder, list[tuple[Path, int]]()

    def save(self, trainer: Any, moment: str) -> None:
        if self.folder is not None and not trainer.sanity_checking:
            path = self.folder / f"{len(self.kept):02d}-{moment}.ckpt"
            trainer.save_checkpoint(path)
            self.kept.append((path, len(trainer.lightning_module.served)))

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        self.save(trainer, "batch")

    def on_validation_end(self, trainer: Any, *_: Any) -> None:
        self.save(trainer, "validation")

    def on_train_epoch_end(self, trainer: Any, *_: Any) -> None:
        self.save(trainer, "epoch")


class Fitted(NamedTuple):
    served: list[Any]
    weights: Any
    kept: list[tuple[Path, int]]
    choice: str

    def epoch(self, number: int) -> list[Any]:
        return [batch_idx for epoch, batch_idx, _ in self.served if epoch == number]

    def samples(self, number: int) -> list[Any]:
        return [leaves[0] for epoch, _, leaves in self.served if epoch == number]


def fit(loaders: Any, *, keep: Path | None = None, path: Path | None = None, **options: Any) -> Fitted:
    pl.seed_everything(5, verbose=False)
    model, keeps = options.pop("model", Model)(), Keep(keep)
    Model.served.clear()
    options = {"max_epochs": 3, "num_sanity_val_steps": 0, **options}
    trainer = lighter.Trainer(
        accelerator="cpu",
        devices=1,
        logger=False,
        callbacks=[keeps],
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    trainer.fit(model, *(loaders if isinstance(loaders, tuple) else (loaders,)), ckpt_path=path)
    weights = {name: value.tolist() for name, value in model.state_dict().items()}
    return Fitted(list(Model.served), weights, keeps.kept, str(trainer.resume_choice))


def assert_resumes(make: Callable[[], Any], folder: Path, **options: Any) -> set[str]:
    """From each of the checkpoints, and from one that was saved by a resumed fit. Returns what is logged."""
    whole, said = fit(make(), keep=folder, **options), set()
    assert whole.served
    for path, before in whole.kept:
        (folder / "again").mkdir(exist_ok=True)
        rest = fit(make(), path=path, keep=folder / "again", **options)
        assert rest.served == whole.served[before:], path.name
        assert rest.weights == whole.weights, path.name
        for again, more in rest.kept[:1]:
            rest = fit(make(), path=again, **options)
            assert rest.served == whole.served[before + more :], f"{path.name}, then {again.name}"
        said.add(rest.choice)
    return said


class Data(pl.LightningDataModule):
    """Dataloaders that depend on when they are made, and on what is drawn then."""

    def train_dataloader(self) -> DataLoader:
        part = random_split(Noisy(40), [20, 20])[0] if self.trainer.current_epoch % 2 else Noisy(20)
        return DataLoader(part, BATCH, shuffle=True)


@pytest.mark.parametrize("every", slow_but([0, 1, 2, 3], 1))
def test_dataloaders_are_made_as_they_were(every: int, tmp_path: Path) -> None:
    options = {"max_epochs": 4, "reload_dataloaders_every_n_epochs": every}
    assert assert_resumes(lambda: (Data(),), tmp_path, **options) == {"exact"}


STATE = "exact (by the state of StatefulDataLoader)"
LOADERS: dict[str, tuple[Callable[[], Any], str, dict[str, Any]]] = {
    "one": (shuffled, "exact", {}),
    "of steps that iterate": (shuffled, "exact", {"model": Iterates}),
    "several, of steps that iterate": (lambda: [shuffled(), shuffled(9, 3)], "exact", {"model": Iterates}),
    "a dict": (lambda: {"a": shuffled(), "b": shuffled(9, 3)}, "exact", {}),
    "a list": (lambda: [shuffled(), shuffled(15)], "exact", {}),
    "one that is looked at": (shuffled, "exact", {"model": Looks}),
    "several that are looked at": (lambda: {"a": shuffled(), "b": shuffled(9, 3)}, "exact", {"model": Looks}),
    "one twice": (lambda: (lambda loader: {"a": loader, "b": loader})(shuffled()), "exact", {}),
    "cycles, with workers": (lambda: [shuffled(), shuffled(6, 3, num_workers=1)], "exact", {}),
    "cycles of a sampler that counts": (lambda: [shuffled(), counted()], "exact", {}),
    **{
        mode: (lambda mode=mode: CombinedLoader({"a": shuffled(), "b": shuffled(9, 3)}, mode), "exact", {})
        for mode in ("min_size", "max_size", "max_size_cycle")
    },
    "a dataset with state": (lambda: StatefulDataLoader(Remembers(), BATCH, shuffle=True), STATE, {}),
    "a stream with state": (lambda: StatefulDataLoader(StreamWithState(20), BATCH), STATE, {}),
    "an endless stream": (lambda: StatefulDataLoader(StreamWithState(), BATCH), STATE, {"limit_train_batches": 4}),
    "a loader of one's own": (OwnLoader, "exact (by the state of OwnLoader)", {}),
    "one with state, and one without": (
        lambda: [StatefulDataLoader(StreamWithState(20), BATCH), shuffled(25)],
        STATE,
        {},
    ),
}


@pytest.mark.parametrize("name", slow_but(LOADERS, "one", "a dict", "a stream with state", "a loader of one's own"))
def test_any_checkpoint_resumes_exactly(name: str, tmp_path: Path) -> None:
    make, says, options = LOADERS[name]
    epochs = 2 if says == "exact" else 3  # a state has to last
    assert assert_resumes(make, tmp_path, max_epochs=epochs, **options) == {says}


def test_looking_at_the_data_changes_nothing_that_is_trained() -> None:
    Looks.looked.clear()
    looked = fit(shuffled(), model=Looks)
    assert looked.samples(0) == fit(shuffled()).samples(0)
    assert len({str(order) for order in Looks.looked}) == len(Looks.looked) > 2


@pytest.mark.parametrize("number", mostly_slow([1, 2]))
@pytest.mark.parametrize("loader", [OwnLoader, LoaderOfLength])
@pytest.mark.parametrize("saved", ["at the end of the epoch", "after the fit"])
def test_a_state_resumes_where_the_last_step_ended_the_epoch(
    saved: str, loader: Any, number: int, tmp_path: Path
) -> None:
    trainers, served = [], []
    for steps in (2, 4):
        options = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "max_steps": steps}
        trainers.append(lighter.Trainer(accelerator="cpu", callbacks=[keep := Keep(tmp_path)], **options))
        Model.served.clear()
        path = tmp_path / "saved.ckpt" if served else None
        trainers[-1].fit(Model(), [loader() for _ in range(number)], ckpt_path=path)
        served.append([leaves[0][0] for _, _, leaves in Model.served])
        if saved == "after the fit":
            trainers[-1].save_checkpoint(tmp_path / "saved.ckpt")
        else:
            keep.kept[-1][0].rename(tmp_path / "saved.ckpt")
    assert served == [[1, 2], [3, 4]]


@pytest.mark.slow
def test_a_state_is_kept_where_validation_saves(tmp_path: Path) -> None:
    val = DataLoader(Noisy(4), 2)
    assert_resumes(lambda: (StatefulDataLoader(Remembers(), BATCH), val), tmp_path, val_check_interval=0.5)


@pytest.mark.slow
@pytest.mark.parametrize("dataset", [Remembers, StreamWithState])
def test_a_state_in_workers_begins_anew_with_them(dataset: Any, tmp_path: Path) -> None:
    def make() -> Any:
        return StatefulDataLoader(dataset(), BATCH, num_workers=1)

    assert assert_resumes(make, tmp_path, limit_train_batches=3, max_epochs=2) == {STATE}


def test_persistent_workers_that_keep_a_state_are_told_of() -> None:
    taken = Loaders()
    taken.take([StatefulDataLoader(Remembers(), BATCH, num_workers=1, persistent_workers=True)])
    assert str(taken.choice) == (
        "as Lightning does (persistent workers of StatefulDataLoader have a state between epochs)"
    )


FROM_START: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "a stream": (lambda: DataLoader(Stream(), BATCH), {}),
    "a stream whose length is known": (lambda: DataLoader(StreamOfLength(), BATCH), {}),
    "a stream with a limit": (lambda: DataLoader(Stream(10**9), BATCH), {"limit_train_batches": 4}),
    "an iterable": (OwnIterable, {}),
    "gradients that add up": (lambda: DataLoader(StreamOfLength(), BATCH), {"accumulate_grad_batches": 2}),
}


@pytest.mark.parametrize("name", mostly_slow(FROM_START))
def test_an_epoch_that_begins_again_has_all_its_batches(name: str, tmp_path: Path) -> None:
    make, options = FROM_START[name]
    whole = fit(make(), keep=tmp_path, max_epochs=2, **options)
    for path, before in whole.kept:
        rest = fit(make(), path=path, max_epochs=2, **options)
        epoch, is_over = (before - 1) // 4, before % 4 == 0
        assert rest.choice.startswith("from the epoch's start"), path.name
        assert rest.epoch(epoch) == ([] if is_over else [0, 1, 2, 3]), path.name
        assert rest.samples(1) == (whole.samples(1) if before != 8 else []), path.name


def test_validation_comes_where_it_does_in_an_epoch_that_begins_again(tmp_path: Path) -> None:
    def make() -> Any:
        return DataLoader(StreamOfLength(), BATCH), DataLoader(Noisy(2), 2)

    whole = fit(make(), keep=tmp_path, max_epochs=1, val_check_interval=3)
    [at_batch] = [path for path, _ in whole.kept if path.name == "01-batch.ckpt"]
    rest = fit(make(), path=at_batch, max_epochs=1, val_check_interval=3)
    assert [epoch if epoch == "validation" else index for epoch, index, _ in rest.served] == [0, 1, 2, "validation", 3]


def test_an_epoch_begins_again_where_the_number_of_processes_has_changed(tmp_path: Path) -> None:
    path, _ = fit(shuffled(), keep=tmp_path, max_epochs=1).kept[2]
    checkpoint = torch.load(path, weights_only=False)
    checkpoint["loops"]["fit_loop"]["state_dict"]["lighter"]["processes"] *= 2
    torch.save(checkpoint, tmp_path / "two.ckpt")
    rest = fit(shuffled(), path=tmp_path / "two.ckpt", max_epochs=1)
    assert rest.choice == "from the epoch's start (1 processes now, 2 then)"
    assert rest.epoch(0) == [0, 1, 2, 3]


THEN = "from the epoch's start (the dataloader has 4 batches of 5 now, {} then)"


@pytest.mark.parametrize(
    ("before", "choice"),
    [
        (lambda: shuffled(batch_size=2), THEN.format("10 batches of 2")),
        (lambda: shuffled(batch_size=10), THEN.format("2 batches of 10")),
        (lambda: shuffled(19), "exact"),  # as many batches
        (lambda: shuffled(40), THEN.format("8 batches of 5")),
        (lambda: StatefulDataLoader(Remembers(), 2), THEN.format("10 batches of 2")),
        (lambda: [shuffled(), shuffled()], "from the epoch's start (1 dataloaders now, 2 then)"),
    ],
)
def test_an_epoch_begins_again_where_its_batches_are_others(before: Any, choice: str, tmp_path: Path) -> None:
    path, _ = fit(before(), keep=tmp_path, max_epochs=1).kept[0]
    rest = fit(shuffled(), path=path, max_epochs=1)
    assert rest.choice == choice
    assert rest.epoch(0) == ([0, 1, 2, 3] if choice != "exact" else [1, 2, 3])


def test_other_batches_make_no_difference_between_epochs(tmp_path: Path) -> None:
    path, _ = fit(shuffled(batch_size=2), keep=tmp_path, max_epochs=1).kept[-1]
    rest = fit(shuffled(), path=path, max_epochs=2)
    assert rest.choice == "exact"
    assert rest.epoch(1) == [0, 1, 2, 3]


def test_a_stream_with_state_resumes_with_other_batches(tmp_path: Path) -> None:
    path, _ = fit(StatefulDataLoader(StreamWithState(20), BATCH), keep=tmp_path, max_epochs=1).kept[0]
    rest = fit(StatefulDataLoader(StreamWithState(20), 3), path=path, max_epochs=1)
    assert [index for batch in rest.samples(0) for index in batch] == list(range(BATCH, 20))


def test_checkpoints_of_before_sizes_and_datasets_were_saved(tmp_path: Path) -> None:
    whole = fit(StatefulDataLoader(StreamWithState(20), BATCH), keep=tmp_path)
    path, before = whole.kept[1]
    checkpoint = torch.load(path, weights_only=False)
    for process in checkpoint["loops"]["fit_loop"]["state_dict"]["lighter"]["processes"]:
        del process["sizes"], process["datasets"]
    torch.save(checkpoint, tmp_path / "earlier.ckpt")
    rest = fit(StatefulDataLoader(StreamWithState(20), BATCH), path=tmp_path / "earlier.ckpt")
    assert rest.served == whole.served[before:]
