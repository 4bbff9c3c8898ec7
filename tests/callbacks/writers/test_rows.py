"""CsvWriter and TableWriter: what goes in comes out, in order, and nothing else is there."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from lighter.callbacks import CsvWriter, FileWriter, TableWriter
from lighter.callbacks.writers.formats import CsvFormat
from lighter.errors import ModuleTypeError, ModuleValueError, PredictionError
from tests.callbacks.jobs import HATED, Predictor, Samples, loader, outputs, stream, system


def rows_of(path: str) -> tuple[list[str], list[list[str]]]:
    with open(path, newline="", encoding="utf-8", errors="surrogatepass") as file:
        head, *rows = csv.reader(file)
    return head, rows


def test_text_that_csv_hates_comes_back_as_it_was(predict: Any) -> None:
    predict(CsvWriter("rows.csv", ["name", "text", "pred"]), data=loader(5000, 64))
    head, rows = rows_of("rows.csv")
    samples = Samples(5000)
    assert head == ["name", "text", "pred"]
    assert [row[:2] for row in rows] == [[samples[i]["name"], samples[i]["text"]] for i in range(5000)]
    module = Predictor()
    batches = [outputs(module(batch["x"]), batch)["pred"] for batch in loader(5000, 64)]
    assert [float(row[2]) for row in rows] == torch.cat(batches).tolist()
    assert {path.name for path in Path.cwd().iterdir()} == {"rows.csv"}


@pytest.mark.parametrize(
    ("values", "cells"),
    [
        (torch.tensor([0.1, 1e-30, float("nan"), float("inf")], dtype=torch.float64), ["0.1", "1e-30", "nan", "inf"]),
        (torch.tensor([0.1], dtype=torch.float32), ["0.10000000149011612"]),
        (torch.tensor([0.5, 2], dtype=torch.bfloat16), ["0.5", "2.0"]),
        (torch.tensor([True, False]), ["True", "False"]),
        (torch.tensor([2**60, -1]), [str(2**60), "-1"]),
        (torch.tensor(3), ["3"]),
        (torch.tensor([[1.5, 2.0]]), ["[1.5, 2.0]"]),
        (torch.zeros(1, 1, 2, dtype=torch.int64), ["[[0, 0]]"]),
        (np.array([0.1, 0.2]), ["0.1", "0.2"]),
        ([torch.tensor(1), torch.tensor(2)], ["1", "2"]),
        ([torch.zeros(1), torch.zeros(2)], ["[0.0]", "[0.0, 0.0]"]),
        ([np.float32(0.5), None], ["0.5", ""]),
        ([{"a": torch.tensor([1]), "ü": (1, "x")}, []], ['{"a": [1], "ü": [1, "x"]}', "[]"]),
        (["half a pair \ud800"], ["half a pair \ud800"]),
        ([Path("a/b")], ["a/b"]),
    ],
)
def test_values_become_cells(predict: Any, values: Any, cells: list[str]) -> None:
    class Given(Predictor):
        def predict_step(self, batch, batch_idx):
            return {"value": values}

    predict(CsvWriter("rows.csv", ["value"]), module=Given(), data=loader(len(cells), len(cells)))
    _, rows = rows_of("rows.csv")
    assert [row[0] if row else "" for row in rows] == cells


def test_rows_are_told_apart_whatever_is_in_them() -> None:
    format = CsvFormat(["a", "b"])
    columns = {"a": list(HATED), "b": list(reversed(HATED))}
    data = format.encode(columns, b"")
    rows = format.split(data, len(HATED))
    assert len(rows) == len(HATED)
    assert b"".join(rows) == data


def test_what_the_trainer_returns_is_left_alone(predict: Any) -> None:
    plain = predict(returned=True)
    written = predict(CsvWriter("rows.csv", ["pred"]), returned=True)
    assert len(plain) == len(written) == 15
    assert all(torch.equal(a["pred"], b["pred"]) for a, b in zip(plain, written, strict=True))


def test_rows_of_several_dataloaders_follow_each_other(predict: Any) -> None:
    predict(CsvWriter("rows.csv", ["name"]), data=[loader(10, 3), loader(20, 8)])
    names = [Samples()[i]["name"] for i in range(20)]
    assert [name for [name] in rows_of("rows.csv")[1]] == names[:10] + names


@pytest.mark.parametrize("kind", ["workers", "stream", "shuffled", "limited"])
def test_rows_are_in_the_order_of_the_dataset(predict: Any, kind: str) -> None:
    data = {"workers": lambda: loader(num_workers=2), "stream": stream, "limited": loader}
    order = [99, *range(0, 99, 2), *range(1, 99, 2)]
    shuffled = lambda: DataLoader(Samples(), batch_size=7, sampler=order)  # noqa: E731
    limit = {"limit_predict_batches": 3} if kind == "limited" else {}
    predict(CsvWriter("rows.csv", ["name"]), data=data.get(kind, shuffled)(), **limit)
    names = [Samples()[i]["name"] for i in range(21 if limit else 100)]
    assert [name for [name] in rows_of("rows.csv")[1]] == names


def test_a_sample_that_one_process_predicts_twice_is_there_twice(predict: Any) -> None:
    predict(CsvWriter("rows.csv", ["name"]), data=DataLoader(Samples(), batch_size=2, sampler=[1, 0, 1]))
    assert [name for [name] in rows_of("rows.csv")[1]] == ["plain", "0001", "0001"]


def test_table_of_a_system(predict: Any) -> None:
    predict(TableWriter("table.csv"), module=system(), data=loader())
    head, rows = rows_of("table.csv")
    assert head == ["identifier", "pred"]
    assert [row[0] for row in rows] == [Samples()[i]["name"] for i in range(100)]
    assert len(json.loads(rows[0][1])) == 3


@pytest.mark.parametrize(
    "writer",
    [
        TableWriter("table.csv"),
        CsvWriter("table.csv", ["identifier", "pred"]),
        FileWriter("table", "pred", "text", "identifier"),
    ],
    ids=lambda one: type(one).__name__,
)
def test_samples_without_identifiers_are_counted(predict: Any, writer: Any) -> None:
    class NoNames(Predictor):
        def predict_step(self, batch, batch_idx):
            return {"identifier": None, "pred": batch["x"][:, 0]}

    predict(writer, module=NoNames())
    assert [row[0] for row in rows_of(str(writer.rows_path))[1]] == [str(i) for i in range(100)]


def test_plain_lightning_modules() -> None:
    class Plain(pl.LightningModule):
        def predict_step(self, batch, batch_idx):
            return {"name": batch["name"]}

    trainer = pl.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, callbacks=[CsvWriter("rows.csv", ["name"])]
    )
    trainer.predict(Plain(), loader())
    assert len(rows_of("rows.csv")[1]) == 100


def test_memory_of_indices_is_let_go(predict: Any) -> None:
    kept: list[int] = []

    class Look(pl.Callback):
        def on_predict_end(self, trainer, pl_module):
            seen = trainer.predict_loop._combined_loader.flattened[0].batch_sampler.seen_batch_indices
            kept.append(sum(map(len, seen)))

    predict(CsvWriter("rows.csv", ["name"]), Look())
    assert kept == [2]  # of the last batch, which has two samples


RETURNED = [
    (
        torch.zeros(7),
        ["pred"],
        "CsvWriter needs a dict from `predict_step`, with `pred`; it returned a tensor of shape",
    ),
    (None, ["pred"], "it returned None"),
    (
        {"pred": [1] * 7},
        ["perd"],
        "is to write `perd`, but `predict_step` returned a dict with the key 'pred'. Did you mean `pred`?",
    ),
    (
        {"a": torch.zeros(7, 2), "b": torch.zeros(6)},
        ["a", "b"],
        "`a` has 7 (a tensor of shape (7, 2) and dtype float32), `b` has 6 (a tensor of shape (6,) and dtype float32)",
    ),
    ({"a": [1] * 6}, ["a"], "the batch has 7, and `predict_step` returned 6 values under `a`"),
    ({"a": "text"}, ["a"], "a value for each sample under `a`: a tensor, an array or a list; found a str ('text')"),
    ({"a": 3}, ["a"], "found a int (3)"),
]


@pytest.mark.filterwarnings("ignore:predict returned None")
@pytest.mark.parametrize(("returned", "keys", "message"), RETURNED)
def test_outputs_that_are_no_rows(predict: Any, returned: Any, keys: list[str], message: str) -> None:
    class Wrong(Predictor):
        def predict_step(self, batch, batch_idx):
            return returned

    with pytest.raises(PredictionError) as caught:
        predict(CsvWriter("rows.csv", keys), module=Wrong())
    assert message in str(caught.value)
    assert not Path("rows.csv").exists()


@pytest.mark.parametrize(
    ("path", "keys", "error", "message"),
    [
        ("", ["a"], ModuleTypeError, "`path` says where CsvWriter writes"),
        (None, ["a"], ModuleTypeError, "found None"),
        ("a.csv", "pred", ModuleTypeError, "`keys` is a list of keys"),
        ("a.csv", [], ModuleValueError, "at least one; found []"),
        ("a.csv", ["a", "a"], ModuleValueError, "names each column once"),
    ],
)
def test_wrong_arguments(path: Any, keys: Any, error: type, message: str) -> None:
    with pytest.raises(error) as caught:
        CsvWriter(path, keys)
    assert message in str(caught.value)


def test_nothing_is_written_over(predict: Any) -> None:
    Path("rows.csv").write_text("mine")
    with pytest.raises(PredictionError, match=r"rows\.csv is there, and nothing is written over"):
        predict(CsvWriter("rows.csv", ["name"]))
    assert Path("rows.csv").read_text() == "mine"


def test_a_file_that_appears_meanwhile_is_not_written_over(predict: Any) -> None:
    class Meanwhile(pl.Callback):
        def on_predict_start(self, trainer, pl_module):
            Path("rows.csv").write_text("mine")

    with pytest.raises(PredictionError, match=r"the whole of it is .*rows\.partial\.csv"):
        predict(CsvWriter("rows.csv", ["name"]), Meanwhile())
    writer = CsvWriter("rows.csv", ["name"])
    writer.resume = True
    with pytest.raises(PredictionError, match="is there, but not from this prediction, whose rows are in"):
        predict(writer)
    assert Path("rows.csv").read_text() == "mine"
    assert len(rows_of("rows.partial.csv")[1]) == 100
    Path("rows.csv").unlink()
    writer = CsvWriter("rows.csv", ["name"])
    writer.resume = True
    predict(writer)
    assert len(rows_of("rows.csv")[1]) == 100


def test_two_writers_of_one_path(predict: Any) -> None:
    with pytest.raises(PredictionError, match="CsvWriter and TableWriter both write"):
        predict(CsvWriter("rows.csv", ["name"]), TableWriter(Path.cwd() / "rows.csv"))
