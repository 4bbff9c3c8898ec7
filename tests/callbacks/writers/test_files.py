"""FileWriter: a whole file for each sample, none outside the directory, none lost."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import av
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from lighter.callbacks import FileWriter, writer_registry
from lighter.callbacks.writers.functions import write_tensor
from lighter.callbacks.writers.names import file_name
from lighter.errors import ModuleTypeError, ModuleValueError, PredictionError
from tests.callbacks.jobs import HATED, Predictor, Samples, loader, stream

SIZE = 1000


def test_every_sample_has_a_file_of_its_own_and_all_are_inside(predict: Any, own_place: Path) -> None:
    predict(FileWriter("files", "x", "tensor", name_key="name"), data=loader(SIZE, 100))
    with open("files.index.csv", newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert [row["name"] for row in table] == [Samples(SIZE)[i]["name"] for i in range(SIZE)]
    assert {row["file"] for row in table} == set(os.listdir("files"))
    assert {path.name for path in own_place.iterdir()} == {"files", "files.index.csv"}
    for index, row in enumerate(table):
        assert torch.equal(torch.load(f"files/{row['file']}"), Samples(SIZE)[index]["x"])


def test_a_file_holds_its_sample_alone(predict: Any) -> None:
    class Large(Predictor):
        def predict_step(self, batch, batch_idx):
            return {"pred": torch.zeros(len(batch["x"]), 1000)}

    predict(FileWriter("files", "pred", "tensor"), module=Large(), data=loader(50, 50))
    assert {path.stat().st_size // 1000 for path in Path("files").iterdir()} == {5}


@pytest.mark.parametrize("name", HATED)
def test_names_are_safe_and_tell_what_they_were(name: str) -> None:
    safe = file_name(name)
    assert safe not in ("", ".", "..")
    assert not set(safe) & set('/\\:*?"<>|\0\n\r')
    assert len(safe.encode()) <= 200
    assert safe[0] not in ". "
    assert safe[-1] not in ". "
    if "%~" not in safe:
        assert unquote(safe, errors="surrogatepass") == name or (safe, name) == ("%", "")


def test_names_stay_apart() -> None:
    letters = [
        "",
        ".",
        "/",
        "%",
        "%2F",
        "~",
        "%~",
        " ",
        "a",
        "A",
        "é",
        "e\u0301",
        "con",
        "x" * 250,
        "x" * 251,
        "\ud800",
    ]
    names = {a + b for a in letters for b in letters}
    assert len({file_name(name) for name in names}) == len(names)
    assert file_name("../../x") == "%2E.%2F..%2Fx"
    assert file_name("scan.1") == "scan.1"


@pytest.mark.parametrize("data", ["one", "several", "stream"])
def test_names_by_index(predict: Any, data: str) -> None:
    loaders = {"one": loader(10, 4), "several": [loader(2), loader(3)], "stream": stream(3)}
    predict(FileWriter("files", "x", "text"), data=loaders[data])
    expected = {
        "one": {f"{i}.txt" for i in range(10)},
        "several": {"0-0.txt", "0-1.txt", "1-0.txt", "1-1.txt", "1-2.txt"},
        "stream": {"0-0.txt", "0-1.txt", "0-2.txt"},
    }
    assert set(os.listdir("files")) == expected[data]


@pytest.mark.parametrize("size", [3, 100], ids=["one batch", "batches"])
def test_two_samples_of_one_name(predict: Any, size: int) -> None:
    class Same(Predictor):
        def predict_step(self, batch, batch_idx):
            return {"x": batch["x"], "name": ["same" if x else "first" for x in batch["x"][:, 0].tolist()]}

    with pytest.raises(PredictionError, match="two samples have the name 'same', or something"):
        predict(FileWriter("files", "x", "tensor", "name"), module=Same(), data=loader(size, 3 if size == 3 else 2))
    kept = [path for path in Path("files").iterdir() if path.is_file()]
    assert {path.name: torch.load(path)[0].item() for path in kept} in (
        {},
        {"first.pt": 0, "same.pt": pytest.approx(1 / 7)},
    )


def test_names_that_are_none(predict: Any) -> None:
    with pytest.raises(
        PredictionError, match="`pred` holds the names of samples, text or whole numbers; found a float"
    ):
        predict(FileWriter("files", "x", "tensor", "pred"))


@pytest.mark.parametrize("planted", ["file", "link"])
def test_a_directory_with_something_in_it(predict: Any, own_place: Path, planted: str) -> None:
    Path("files").mkdir()
    if planted == "file":
        Path("files/plain.pt").write_text("mine")
    else:
        Path("outside").mkdir()
        Path("files/plain.pt").symlink_to(own_place / "outside")
    with pytest.raises(PredictionError, match="has files in it, and nothing is written over"):
        predict(FileWriter("files", "x", "tensor", "name"))
    assert os.listdir("files") == ["plain.pt"]


def test_a_link_that_appears_meanwhile_is_not_followed(predict: Any, own_place: Path) -> None:
    class Plants(Predictor):
        def predict_step(self, batch, batch_idx):
            Path("files/plain.pt").symlink_to(own_place / "outside.pt")
            return {"x": batch["x"], "name": batch["name"]}

    with pytest.raises(PredictionError, match="or something else made its file"):
        predict(FileWriter("files", "x", "tensor", "name"), module=Plants())
    assert not Path("outside.pt").exists()


def made(name: str, value: Any) -> Path:
    writer_registry.get(name)(Path("value"), value)
    [path] = Path.cwd().iterdir()
    return path


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (2, "LA"), (3, "RGB"), (4, "RGBA")])
def test_image_2d(channels: int, mode: str) -> None:
    value = torch.rand(channels, 5, 7)
    with Image.open(made("image_2d", value)) as image:
        assert (image.mode, image.size) == (mode, (7, 5))
        pixels = np.asarray(image).reshape(5, 7, channels)
    assert np.abs(pixels / 255 - value.movedim(0, -1).numpy()).max() <= 0.5 / 255 + 1e-6


def test_image_3d_has_its_slices_below_each_other() -> None:
    value = torch.zeros(1, 3, 2, 4)
    value[0, 1] = 1
    with Image.open(made("image_3d", value)) as image:
        assert np.asarray(image)[:, 0].tolist() == [0, 0, 255, 255, 0, 0]


@pytest.mark.parametrize(("channels", "height"), [(1, 48), (3, 48), (3, 33)])
def test_video(channels: int, height: int) -> None:
    value = torch.linspace(0, 1, 6).view(1, 6, 1, 1).expand(channels, 6, height, 64)
    with av.open(str(made("video", value))) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert [frame.shape for frame in frames] == [(height, 64, 3)] * 6
    assert [frame.mean() / 255 for frame in frames] == pytest.approx(value[0, :, 0, 0].tolist(), abs=0.03)


def test_text_keeps_line_ends() -> None:
    assert made("text", "a\r\nb\n").read_bytes() == b"a\r\nb\n"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("image_2d", torch.zeros(5, 7), "shape (C, H, W) with 1, 2, 3 or 4 channels; found a tensor of shape (5, 7)"),
        ("image_2d", torch.zeros(5, 3, 3), "with 1, 2, 3 or 4 channels"),
        ("image_2d", torch.full((1, 2, 2), float("nan")), "found NaN"),
        ("image_2d", torch.full((1, 2, 2), 200, dtype=torch.uint8), "found 200 to 200"),
        ("image_3d", torch.zeros(1, 2, 2), "shape (C, D, H, W)"),
        ("video", torch.zeros(2, 2, 8, 8), "with 1 or 3 channels"),
    ],
)
def test_pictures_of_something_else(name: str, value: Any, message: str) -> None:
    with pytest.raises(PredictionError) as caught:
        writer_registry.get(name)(Path("value"), value)
    assert message in str(caught.value)


def test_functions_of_the_users(predict: Any) -> None:
    predict(FileWriter("bare", "x", lambda path, value: np.save(path, value.numpy())), data=loader(3))
    predict(FileWriter("whole", "x", lambda path, value: path.write_text("x")), data=loader(3))
    assert sorted(os.listdir("bare")) == ["0.npy", "1.npy", "2.npy"]
    assert sorted(os.listdir("whole")) == ["0", "1", "2"]
    with pytest.raises(PredictionError, match="for the sample '0' it made none"):
        predict(FileWriter("none", "x", lambda path, value: None), data=loader(3))


def test_functions_get_names(predict: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(writer_registry, "_functions", dict(writer_registry._functions))

    @writer_registry.register("reversed")
    def reverse(path: Path, value: str) -> None:
        path.with_suffix(".rev").write_text(value[::-1])

    predict(FileWriter("files", "text", "reversed"), data=loader(2))
    assert Path("files/1.rev").read_text() == "1000"
    with pytest.raises(ModuleValueError, match="there is a writer function `reversed` already"):
        writer_registry.register("reversed")
    with pytest.raises(ModuleValueError, match=r"no writer function `tensr`\. Did you mean `tensor`\?"):
        FileWriter("files", "x", "tensr")
    with pytest.raises(ModuleTypeError, match="`writer_fn` is a name or a function"):
        FileWriter("files", "x", 3)  # type: ignore[arg-type]


def test_functions_cannot_change_what_the_trainer_returns(predict: Any) -> None:
    def spoils(path: Path, value: torch.Tensor) -> None:
        value.zero_()
        torch.save(value, path.with_suffix(".pt"))

    [batch] = predict(FileWriter("files", "x", spoils), data=loader(3), returned=True)
    assert batch["x"][:, 1].tolist() == [1, 1, 1]


def test_an_error_of_a_function_names_the_sample(predict: Any) -> None:
    def fails(path: Path, value: Any) -> None:
        raise io.UnsupportedOperation("no")

    with pytest.raises(io.UnsupportedOperation) as caught:
        predict(FileWriter("files", "x", fails, "name"), data=DataLoader(Samples(), batch_size=2))
    assert "while FileWriter wrote `x` of the sample 'plain'" in caught.value.__notes__[0]


def test_tensors_of_a_subclass_are_saved_as_plain_ones(own_place: Path) -> None:
    class Named(torch.Tensor):
        pass

    write_tensor(own_place / "a", {"x": torch.ones(2).as_subclass(Named)})
    assert type(torch.load(own_place / "a.pt", weights_only=True)["x"]) is torch.Tensor
