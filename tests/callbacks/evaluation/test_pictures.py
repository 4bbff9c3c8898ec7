"""Logged pictures: the same samples each time, on every rung, in files and in loggers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from PIL import Image
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import DataLoader, Subset, TensorDataset

import lighter
from lighter.callbacks import EvaluationReport, Pictures
from lighter.callbacks.evaluation import pictures
from lighter.callbacks.evaluation.loggers import log_picture
from lighter.callbacks.evaluation.sheet import TARGET_COLOR, Tile, overlaid, png, sheet
from lighter.callbacks.evaluation.shown import IMAGE, PREDICTION_MAP, TABLE, TARGET_MAP, as_bytes, shows
from lighter.errors import MisfitError, ModuleTypeError, ModuleValueError
from tests.callbacks.evaluation.jobs import RUNGS, Plain, loader, module_of, samples, trainer


def files() -> list[str]:
    return sorted(path.name for path in Path("pictures").iterdir()) if Path("pictures").exists() else []


def rows(name: str) -> Any:
    return json.loads(Path("pictures", f"{name}.json").read_text())


@pytest.mark.parametrize("kind", [pl.Trainer, lighter.Trainer])
@pytest.mark.parametrize("rung", RUNGS)
def test_every_rung_shows_the_same_samples(rung: str, kind: Any) -> None:
    callback = Pictures(every_n_epochs=2, samples=3, classes=list("abcd"))
    trainer(callback, kind=kind, max_epochs=3).fit(module_of(rung), loader(), loader(batch_size=2))
    names = ["val-epoch0-step7", "val-epoch2-step21"]
    assert files() == sorted(f"{name}.{kind}" for name in names for kind in ("png", "json"))
    for name in names:
        found = rows(name)
        assert [row["index"] for row in found["rows"]] == [0, 1, 2]
        assert [row["target"] for row in found["rows"]] == ["abcd"[each] for each in samples().tensors[1][:3]]
        assert {row["prediction"] for row in found["rows"]} <= set("abcd")
        with Image.open(Path("pictures", f"{name}.png")) as image:
            assert image.mode == "RGB"
            assert image.width > 3 * 126


def test_given_samples_and_the_test() -> None:
    callback = Pictures(mode="test", indices=[40, 3])
    run = trainer(callback)
    run.validate(module_of("System"), loader(), verbose=False)
    assert files() == []
    run.test(module_of("System"), loader(), verbose=False)
    assert [row["index"] for row in rows("test-epoch0-step0")["rows"]] == [40, 3]


@pytest.mark.parametrize("options", [{"fast_dev_run": True}, {"limit_val_batches": 0}, {"max_epochs": 0}])
def test_trials_write_nothing(options: dict[str, Any]) -> None:
    trainer(Pictures(), **options).fit(module_of("System"), loader(), loader())
    assert files() == []


def test_samples_of_a_subset() -> None:
    data = DataLoader(Subset(samples(), [30, 20, 10]), batch_size=2)
    trainer(Pictures(samples=2)).validate(module_of("System"), data, verbose=False)
    assert [row["index"] for row in rows("val-epoch0-step0")["rows"]] == [30, 20]
    trainer(Pictures(indices=[10, 30])).validate(module_of("System"), data, verbose=False)
    assert [row["index"] for row in rows("val-epoch0-step0")["rows"]] == [10, 30]


def test_no_such_samples(caplog: pytest.LogCaptureFixture) -> None:
    trainer(Pictures(indices=[99]), max_epochs=2).fit(module_of("System"), loader(), loader())
    assert files() == []
    assert caplog.text.count("no sample of val has one of the indices [99]") == 1


def test_samples_that_do_not_exist_cost_no_batch(caplog: pytest.LogCaptureFixture, monkeypatch: Any) -> None:
    seen, find = [], pictures.find_fields
    monkeypatch.setattr(pictures, "find_fields", lambda *given: seen.append(given) or find(*given))
    trainer(Pictures(indices=[99, 9, 2]), max_epochs=2).fit(module_of("System"), loader(), loader(batch_size=2))
    assert [row["index"] for row in rows("val-epoch1-step14")["rows"]] == [9, 2]
    assert caplog.text.count("no sample of val has one of the indices [99]: the pictures are of the others") == 1
    assert len(seen) == 2 + 2 * 5  # two in the sanity check, and sample 9 is in the fifth batch


def test_a_batch_that_the_step_leaves_out() -> None:
    class Some(Plain):
        def validation_step(self, batch, batch_idx):
            return None if batch_idx == 1 else super().validation_step(batch, batch_idx)

    trainer(Pictures(indices=[9, 17])).validate(Some(), loader(), verbose=False)
    (row,) = rows("val-epoch0-step0")["rows"]
    assert (row["index"], row["target"]) == (17, samples().tensors[1][17])


def test_a_number_of_classes_names_nothing() -> None:
    trainer(Pictures(samples=1, classes=4)).validate(module_of("System"), loader(), verbose=False)
    assert rows("val-epoch0-step0")["rows"][0]["target"] == samples().tensors[1][0]


def test_inputs_that_are_no_images() -> None:
    data = DataLoader(TensorDataset(torch.rand(8, 36), torch.arange(8) % 4), batch_size=4)
    with pytest.raises(MisfitError, match="pictures are of images, and the inputs are a tensor of shape"):
        trainer(Pictures()).validate(Plain(), data, verbose=False)


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"every_n_epochs": 0}, ModuleValueError, "from 1 on"),
        ({"samples": 0}, ModuleValueError, "from 1 on"),
        ({"mode": "train"}, ModuleValueError, "`mode` is unknown"),
        ({"indices": [-1]}, ModuleTypeError, "from 0 on"),
        ({"indices": 5}, ModuleTypeError, "from 0 on"),
        ({"indices": "5"}, ModuleTypeError, "from 0 on"),
        ({"indices": []}, ModuleTypeError, "from 0 on"),
        ({"indices": [5, 5]}, ModuleValueError, "names each sample once"),
        ({"classes": "abc"}, ModuleTypeError, "`classes` is a list of names, or a number of classes; found 'abc'"),
        ({"classes": ["a", "a"]}, ModuleTypeError, "names each class once"),
        ({"pred": 3.5}, ModuleTypeError, "`pred` is the key of what the step returns"),
        ({"input": ["x"]}, ModuleTypeError, "`input` is the key"),
    ],
)
def test_arguments_say_what_is_wrong(arguments: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        Pictures(**arguments)


def test_tensorboard_shows_them_and_others_are_left_alone(own_place: Path) -> None:
    loggers = [CSVLogger(own_place, name="csv"), TensorBoardLogger(own_place, name="board", version="")]
    trainer(Pictures(samples=2), logger=loggers, max_epochs=2).fit(module_of("System"), loader(), loader())
    events = EventAccumulator(str(own_place / "board"), size_guidance={"images": 0}).Reload()
    assert [event.step for event in events.Images("val/pictures")] == [6, 13]  # as rows of `self.log`


class WandbLogger:
    def __init__(self) -> None:
        self.images: list[Any] = []

    def log_image(self, key: str, images: list[Any], step: int | None = None) -> None:
        self.images.append((key, images[0].size))


class MLFlowLogger:
    run_id = "1"

    def __init__(self) -> None:
        self.images: list[Any] = []
        self.experiment = self

    def log_image(self, run_id: str, image: Any, *, key: str, step: int) -> None:
        self.images.append((key, image.shape, step))


def test_other_trackers_take_them_in_their_way() -> None:
    pixels = np.zeros((4, 6, 3), np.uint8)
    wandb, mlflow = WandbLogger(), MLFlowLogger()
    assert log_picture(wandb, "val/pictures", pixels, 3)  # type: ignore[arg-type]
    assert log_picture(mlflow, "val/pictures", pixels, 3)  # type: ignore[arg-type]
    assert not log_picture(CSVLogger("."), "val/pictures", pixels, 3)
    assert wandb.images == [("val/pictures", (6, 4))]
    assert mlflow.images == [("val-pictures", (4, 6, 3), 3)]


def test_a_tracker_that_fails_and_a_full_disk_are_warnings(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pictures, "write_whole", fail)
    monkeypatch.setattr(pictures, "log_picture", fail)
    run = trainer(Pictures(), logger=CSVLogger("."), max_epochs=2)
    run.fit(module_of("System"), loader(), loader())
    assert run.current_epoch == 2
    assert "pictures of val could not be written: [Errno 28]" in caplog.text
    assert "CSVLogger took no picture" in caplog.text


def test_a_segmentation_is_drawn_as_outlines() -> None:
    images, masks = torch.rand(4, 1, 20, 20), torch.zeros(4, 1, 20, 20)
    masks[:, :, 5:15, 5:15] = 1

    class Segments(Plain):
        def validation_step(self, batch, batch_idx):
            return {"pred": batch[1] * 8 - 4, "target": batch[1]}

    data = DataLoader(TensorDataset(images, masks), batch_size=4)
    callbacks = Pictures(samples=2), EvaluationReport("segmentation", ["ground", "square"])
    trainer(*callbacks).validate(Segments(), data, verbose=False)
    found = rows("val-epoch0-step0")["rows"][0]
    assert found == {"index": 0, "target": None, "prediction": None}
    assert json.loads(Path("report/val.json").read_text())["metrics"] == {"dice": 1, "iou": 1, "pixel_accuracy": 1}
    with Image.open("report/val-worst.png") as image:
        assert (np.asarray(image) == (255, 140, 0)).all(2).any()


def test_an_outline_is_around_its_class() -> None:
    classes = np.zeros((200, 200), np.uint8)
    classes[50:100, 50:100] = 3
    drawn = overlaid(np.zeros((200, 200, 1), np.uint8), classes, np.zeros_like(classes))
    is_drawn = (drawn == TARGET_COLOR).all(2)
    assert is_drawn[50, 50:100].all()
    assert is_drawn[50:100, 99].all()
    assert is_drawn.sum() == 4 * 49


def test_a_reconstruction_is_beside_its_input() -> None:
    class Rebuilds(Plain):
        def validation_step(self, batch, batch_idx):
            return {"pred": batch[0] / 2, "target": batch[0]}

    trainer(Pictures(samples=1)).validate(Rebuilds(), loader(), verbose=False)
    with Image.open("pictures/val-epoch0-step0.png") as image:
        assert image.width > 3 * 126


def test_no_targets_are_needed() -> None:
    class Unlabeled(Plain):
        def validation_step(self, batch, batch_idx):
            return {"pred": batch / 2}

        test_step = validation_step

    data = DataLoader(samples().tensors[0], batch_size=8)
    trainer(Pictures(samples=2)).validate(Unlabeled(), data, verbose=False)
    assert rows("val-epoch0-step0")["rows"][1] == {"index": 1, "target": None, "prediction": None}
    with pytest.raises(MisfitError, match="there are no targets to record"):
        trainer(EvaluationReport("regression")).validate(Unlabeled(), data, verbose=False)


@pytest.mark.parametrize(
    ("images", "shape"),
    [
        (torch.rand(2, 1, 8, 9), (2, 8, 9, 1)),
        (torch.rand(2, 3, 8, 9), (2, 8, 9, 3)),
        (torch.rand(2, 8, 9, 3), (2, 8, 9, 3)),
        (torch.rand(2, 8, 9), (2, 8, 9, 1)),
        (torch.rand(2, 4, 8, 9), (2, 8, 9, 1)),
        (torch.rand(2, 1, 5, 8, 9), (2, 8, 9, 1)),
        (torch.rand(2, 1, 1024, 512), (2, 256, 128, 1)),
        (torch.rand(2, 1, 8, 9).bfloat16(), (2, 8, 9, 1)),
        (torch.full((2, 1, 8, 9), torch.nan), (2, 8, 9, 1)),
    ],
)
def test_images_of_all_kinds(images: torch.Tensor, shape: tuple[int, ...]) -> None:
    shown = as_bytes(images)
    assert (tuple(shown.shape), shown.dtype) == (shape, torch.uint8)


def test_brightness() -> None:
    unit = torch.tensor([[[0.0, 0.25], [0.5, 0.75]]])
    assert as_bytes(unit)[..., 0].flatten().tolist() == [0, 64, 128, 191]
    assert as_bytes(unit * 200)[..., 0].flatten().tolist() == [0, 50, 100, 150]
    assert as_bytes((unit * 200).to(torch.uint8))[..., 0].flatten().tolist() == [0, 50, 100, 150]
    assert as_bytes(unit - 0.5)[..., 0].flatten().tolist() == [0, 85, 170, 255]


def test_what_is_kept_of_a_sample_is_small() -> None:
    maps = (torch.ones(3, 8, 1000, 500).long(), torch.full((3, 8, 1000, 500), 300))
    shown = shows(torch.rand(3, 2, 8, 1000, 500), 3, maps)(torch.tensor([2, 0]))
    assert {name: tuple(value.shape) for name, value in shown.items()} == {
        IMAGE: (2, 256, 128, 1),
        TARGET_MAP: (2, 256, 128),
        PREDICTION_MAP: (2, 256, 128),
    }
    assert {value.dtype for value in shown.values()} == {torch.uint8}
    assert [*shows((torch.rand(3, 5), torch.rand(3)), 3)(torch.tensor([1]))] == [TABLE]
    assert shows(["text"] * 3, 3)(torch.tensor([1])) == {}
    assert shows(torch.rand(3, 5000), 3)(torch.tensor([1])) == {}


def test_the_same_tiles_are_the_same_bytes() -> None:
    tiles = [
        Tile([np.full((8, 8, 1), number, np.uint8)], [f"#{number}", "日本 a long caption that is cut"])
        for number in range(20)
    ]
    assert png(sheet(tiles, "title")) == png(sheet(tiles, "title"))
    assert sheet(tiles).shape[1] <= 1400
