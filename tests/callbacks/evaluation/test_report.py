"""Evaluations that are recorded: on every rung, by one process and two, and what costs a run nothing."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset

import lighter
from lighter import adapters
from lighter.callbacks import EvaluationReport
from lighter.callbacks.evaluation import files, sheet
from lighter.errors import MisfitError
from tests.callbacks.evaluation.jobs import RUNGS, Plain, Written, loader, module_of, network, samples, trainer
from tests.commands import TESTS, run_command


def recorded(name: str = "val") -> Any:
    return json.loads(Path(f"report/{name}.json").read_text())


@pytest.mark.parametrize("kind", [pl.Trainer, lighter.Trainer])
@pytest.mark.parametrize("rung", RUNGS)
def test_every_rung_records_the_same(rung: str, kind: Any) -> None:
    module = module_of(rung)
    run = trainer(EvaluationReport("classification", list("abcd"), samples=3), kind=kind)
    run.test(module, loader(), verbose=False)
    with torch.no_grad():
        logits = network()(samples().tensors[0])
    target = samples().tensors[1]
    found = recorded("test")
    assert {key: found[key] for key in ("format", "mode", "task", "classes", "samples")} == {
        "format": 1,
        "mode": "test",
        "task": "classification",
        "classes": list("abcd"),
        "samples": 50,
    }
    assert found["metrics"]["accuracy"] == pytest.approx(float((logits.argmax(1) == target).float().mean()))
    scores = -nn.functional.cross_entropy(logits, target, reduction="none")
    with np.load(Path("report", found["scores"])) as arrays:
        assert arrays["index"].tolist() == list(range(50))
        assert arrays["score"] == pytest.approx(scores.numpy(), abs=1e-5)
        assert arrays["target"].tolist() == target.tolist()
        assert arrays["prediction"].tolist() == logits.argmax(1).tolist()
    order = scores.argsort()
    best, worst = found["sheets"]
    assert [row["index"] for row in worst["samples"]] == order[:3].tolist()
    assert [row["index"] for row in best["samples"]] == order.flip(0)[:3].tolist()
    assert worst["samples"][0]["target"] == "abcd"[target[order[0]]]
    assert {path.name for path in Path("report").iterdir()} == {
        *("test.json", "test-samples.npz", "test-best.png", "test-worst.png"),
    }


def test_a_fit_keeps_the_last_epoch() -> None:
    run = trainer(EvaluationReport("classification"), max_epochs=3)
    run.fit(module_of("System"), loader(), loader(20))
    assert (recorded()["epoch"], recorded()["step"], recorded()["samples"]) == (2, 21, 20)
    assert run.loop_choice.is_lean


def test_short_epochs_are_not_all_written(monkeypatch: pytest.MonkeyPatch) -> None:
    written, write = [], files.ReportFiles.write

    def noted(self: Any, root: str, recorded: Any) -> None:
        written.append(recorded.position["epoch"])
        write(self, root, recorded)

    monkeypatch.setattr(files.ReportFiles, "write", noted)
    trainer(EvaluationReport("classification"), max_epochs=6).fit(module_of("System"), loader(), loader(8))
    assert (written[0], written[-1], recorded()["epoch"]) == (0, 5, 5)
    assert len(written) < 6


def test_a_fit_that_fails_leaves_its_last_evaluation() -> None:
    class Fails(Plain):
        def on_train_epoch_start(self):
            if self.current_epoch == 3:
                raise RuntimeError("the end")

    with pytest.raises(RuntimeError, match="the end"):
        trainer(EvaluationReport("classification"), max_epochs=6).fit(Fails(), loader(), loader(8))
    assert recorded()["epoch"] == 2


@pytest.mark.parametrize("options", [{"fast_dev_run": True}, {"limit_val_batches": 0}])
def test_trials_write_nothing(options: dict[str, Any]) -> None:
    trainer(EvaluationReport("classification"), **options).fit(module_of("System"), loader(), loader())
    assert not Path("report").exists()


def test_the_sanity_check_writes_nothing_and_finds_what_is_missing() -> None:
    class Loss(Plain):
        def validation_step(self, batch, batch_idx):
            return nn.functional.cross_entropy(self.network(batch[0]), batch[1])

        def on_train_start(self):
            assert not Path("report").exists()

    trainer(EvaluationReport("classification")).fit(Plain(), loader(), loader())
    with pytest.raises(MisfitError, match="`validation_step` of Loss returned a tensor") as caught:
        trainer(EvaluationReport("classification")).fit(Loss(), loader(), loader())
    assert 'return {"loss": loss, "pred": pred, "target": target}' in str(caught.value)


@pytest.mark.parametrize("returned", [("none",), ("loss",)])
def test_a_step_that_returns_no_prediction(returned: tuple[str, ...]) -> None:
    with pytest.raises(MisfitError, match="there are no predictions to record"):
        trainer(EvaluationReport("classification")).validate(Plain(*returned), loader(), verbose=False)


def test_names_of_ones_own() -> None:
    named = EvaluationReport("classification", pred="scores", target=1, input=0)
    trainer(named).validate(Plain("loss", "scores"), loader(), verbose=False)
    assert recorded()["samples"] == 50
    wrong = EvaluationReport("classification", pred="score")
    with pytest.raises(MisfitError, match="under 'score': `validation_step` of Plain returned a dict with the keys"):
        trainer(wrong).validate(Plain("loss", "scores"), loader(), verbose=False)


def test_a_system_reports_what_its_metrics_see() -> None:
    def times_ten(values: torch.Tensor) -> torch.Tensor:
        return 10 * values

    x = torch.arange(6.0)[:, None]
    data = DataLoader(TensorDataset(x, 10 * x[:, 0]), batch_size=4)
    metrics = adapters.MetricsAdapter(0, 1, pred_transforms=times_ten)
    parts: dict[str, Any] = {"criterion": nn.MSELoss(), "dataloaders": {"val": data}}
    system = lighter.System(nn.Flatten(0), adapters={"val": {"metrics": metrics}}, **parts)
    trainer(EvaluationReport("regression")).validate(system, verbose=False)
    assert recorded()["metrics"] == {"rmse": 0, "mae": 0, "r2": 1}
    # what the logging adapter changes is what callbacks are to see
    logging_adapter = adapters.LoggingAdapter(pred_transforms=lambda values: 10 * values + 1)
    both = {"val": {"metrics": metrics, "logging": logging_adapter}}
    trainer(EvaluationReport("regression")).validate(
        lighter.System(nn.Flatten(0), adapters=both, **parts), verbose=False
    )
    assert recorded()["metrics"]["mae"] == 1


@pytest.mark.filterwarnings("ignore:Total length of `DataLoader`")
def test_several_dataloaders_and_an_empty_one() -> None:
    run = trainer(EvaluationReport("classification"))
    empty = DataLoader(samples(1), batch_size=2, drop_last=True)
    run.validate(module_of("LightningModule"), [loader(20), empty, loader(30)], verbose=False)
    assert (recorded()["samples"], recorded("val-dataloader2")["samples"]) == (20, 30)
    assert recorded("val-dataloader2")["dataloader"] == 2
    assert not Path("report/val-dataloader1.json").exists()


def test_samples_of_a_subset_have_their_index_in_the_whole() -> None:
    data = DataLoader(Subset(Subset(samples(), range(10, 40)), [3, 1, 20]), batch_size=2)
    trainer(EvaluationReport("classification")).validate(module_of("System"), data, verbose=False)
    with np.load("report/val-samples.npz") as arrays:
        assert arrays["index"].tolist() == [11, 13, 30]


def test_samples_in_an_unknown_order_have_no_index() -> None:
    data = loader(sampler=torch.utils.data.WeightedRandomSampler([1.0] * 50, 30))
    trainer(EvaluationReport("classification")).validate(module_of("System"), data, verbose=False)
    assert "scores" not in recorded()
    assert recorded()["samples"] == 30
    assert {row["index"] for entry in recorded()["sheets"] for row in entry["samples"]} == {None}


def test_predictions_that_are_not_finite(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Plain):
        def validation_step(self, batch, batch_idx):
            logits = self.network(batch[0])
            logits[:2] = torch.nan if batch_idx == 1 else logits[:2]
            return {"pred": logits, "target": batch[1]}

    trainer(EvaluationReport("classification", samples=4)).validate(Broken(), loader(), verbose=False)
    assert (recorded()["samples"], recorded()["left_out"]) == (48, 2)
    assert [(row["index"], row["score"]) for row in recorded()["sheets"][1]["samples"]][:2] == [(8, None), (9, None)]
    assert "2 of 50 samples of val are left out of the report" in caplog.text


def test_logits_that_are_said_to_be_probabilities(caplog: pytest.LogCaptureFixture) -> None:
    trainer(EvaluationReport("classification")).validate(Plain(), loader(), verbose=False)
    assert Path("report/val-samples.npz").exists()
    trainer(EvaluationReport("classification", logits=False)).validate(Plain(), loader(), verbose=False)
    assert not Path("report/val-samples.npz").exists()
    assert recorded()["mistake"].startswith("`logits: false`, but predictions reach ")
    assert (recorded()["metrics"], recorded()["samples"], recorded()["left_out"]) == ({}, 0, 50)
    assert "the results of val are left out of the report" in caplog.text


def test_a_later_batch_that_does_not_fit_costs_the_report_alone(caplog: pytest.LogCaptureFixture) -> None:
    class Odd(Plain):
        def validation_step(self, batch, batch_idx):
            return {"pred": self.network(batch[0])[: 8 - batch_idx], "target": batch[1]}

    trainer(EvaluationReport("classification")).validate(Odd(), loader(), verbose=False)
    assert not Path("report").exists()
    assert "the report of val is not written: MisfitError: a prediction is needed for each target" in caplog.text


def test_steps_may_leave_batches_out() -> None:
    class Some(Plain):
        def validation_step(self, batch, batch_idx):
            return None if batch_idx == 1 else super().validation_step(batch, batch_idx)

    trainer(EvaluationReport("classification")).validate(Some(), loader(), verbose=False)
    assert recorded()["samples"] == 42
    with np.load("report/val-samples.npz") as arrays:
        assert arrays["index"].tolist() == [*range(8), *range(16, 50)]
        assert arrays["target"].tolist() == samples().tensors[1][arrays["index"].astype(int)].tolist()


def test_a_step_that_leaves_samples_out_of_a_batch_leaves_no_index() -> None:
    class Filters(Plain):
        def validation_step(self, batch, batch_idx):
            kept = slice(3 if batch_idx == 1 else 0, None)
            return {"pred": self.network(batch[0])[kept], "target": batch[1][kept]}

    trainer(EvaluationReport("classification")).validate(Filters(), loader(), verbose=False)
    assert recorded()["samples"] == 47
    assert "scores" not in recorded()
    assert {row["index"] for entry in recorded()["sheets"] for row in entry["samples"]} == {None}


def test_a_full_disk_is_a_warning(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def fail(path: Path, content: object) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(files, "write_whole", fail)
    run = trainer(EvaluationReport("classification"), max_epochs=2)
    run.fit(module_of("System"), loader(), loader())
    assert run.current_epoch == 2
    assert "could not be written: [Errno 28] No space left on device" in caplog.text


def test_without_pillow_everything_but_pictures(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(files, "can_draw", lambda: False)
    trainer(EvaluationReport("classification"), max_epochs=2).fit(module_of("System"), loader(), loader())
    assert [set(entry) for entry in recorded()["sheets"]] == [{"name", "samples"}] * 2
    assert [record.getMessage() for record in caplog.records if "Pillow" in record.getMessage()] == [sheet.NEEDS_PILLOW]


def test_half_precision() -> None:
    trainer(EvaluationReport("classification"), precision="bf16-true").validate(
        module_of("System"), DataLoader(TensorDataset(samples().tensors[0].bfloat16(), samples().tensors[1]), 8),
        verbose=False,
    )  # fmt: skip
    assert recorded()["samples"] == 50


def test_a_fit_is_the_same_with_a_report_bit_for_bit() -> None:
    def weights(*callbacks: Any, epochs: int = 3, **kwargs: Any) -> list[torch.Tensor]:
        torch.manual_seed(5)
        module = module_of("LighterModule")
        run = trainer(*callbacks, max_epochs=epochs, **kwargs)
        run.fit(module, loader(shuffle=True), loader(), **({"ckpt_path": "last.ckpt"} if "resume" in kwargs else {}))
        return [parameter.detach().clone() for parameter in module.parameters()]

    plain, with_report = weights(), weights(EvaluationReport("classification"))
    assert all(torch.equal(one, other) for one, other in zip(plain, with_report, strict=True))


def test_a_resumed_fit_records_the_same() -> None:
    def fit(epochs: int, **arguments: Any) -> None:
        save = ModelCheckpoint("checkpoints", filename="last", enable_version_counter=False)
        run = trainer(EvaluationReport("classification"), save, max_epochs=epochs, enable_checkpointing=True)
        torch.manual_seed(5)
        run.fit(module_of("LighterModule"), loader(shuffle=True), loader(), **arguments)

    fit(3)
    whole = recorded()
    fit(2)
    fit(3, ckpt_path="checkpoints/last.ckpt")
    assert recorded() == whole


def test_memory_does_not_grow_with_the_pictures() -> None:
    callback = EvaluationReport("classification", samples=2)
    kept = []

    class Looking(pl.Callback):
        def on_validation_batch_end(self, *args: Any) -> None:
            worst = callback._evaluations[0].worst
            kept.append(len(worst.kept) + len(worst._candidates))

    trainer(callback, Looking()).validate(Plain(), loader(400, 4), verbose=False)
    assert max(kept) < 10


def test_rows_of_numbers_are_in_the_file() -> None:
    class Table(Written):
        pass

    x = torch.rand(20, 3)
    data = DataLoader(TensorDataset(x, torch.arange(20) % 4), batch_size=8)
    trainer(EvaluationReport("classification", samples=2)).validate(Table(nn.Linear(3, 4)), data, verbose=False)
    entry = recorded()["sheets"][0]
    assert "file" not in entry
    first = entry["samples"][0]
    assert first["input"] == pytest.approx(x[first["index"]].tolist(), rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("rung", ["System", "LightningModule"])
def test_two_processes_record_each_sample_once(rung: str, own_place: Path) -> None:
    done = run_command("-m", "tests.callbacks.evaluation.jobs", rung, str(own_place / "two"), environment=TESTS)
    assert done.returncode == 0, done.stderr
    two = json.loads(Path("two/report/test.json").read_text())
    assert two["samples"] == 51
    with np.load("two/report/test-samples.npz") as arrays:
        assert arrays["index"].tolist() == list(range(51))
    weights = torch.load("two/weights.pt")
    module = module_of(rung)
    module.load_state_dict(weights)
    trainer(EvaluationReport("classification", samples=5)).test(module, loader(51), verbose=False)
    one = {**recorded("test"), "epoch": two["epoch"], "step": two["step"]}
    areas = ("roc", "precision_recall", "calibration")
    assert {key: value for key, value in two.items() if key not in areas} == {
        key: value for key, value in one.items() if key not in areas
    }
    sheets = json.loads(Path("two/pictures/val-epoch0-step4.json").read_text())
    assert [row["index"] for row in sheets["rows"]] == list(range(5))


def test_names_and_loggers_of_python_are_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        trainer(EvaluationReport("classification")).test(module_of("ForwardModule"), loader(), verbose=False)
    assert not caplog.records
