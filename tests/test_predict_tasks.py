"""Prediction tasks, from YAML and from Python, on each rung that has them."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.model_helpers import is_overridden

import lighter
from lighter import Runner
from lighter.errors import ConfigError, ModeError, ModuleValueError, StepMissingError
from tests.jobs import digits, loader, mlp
from tests.task_jobs import CALLS, Alone, Beside, OfSystem
from tests.test_system import system  # noqa: F401  a fixture

KINDS = {"Alone": "model", "Beside": "model", "OfSystem": "system"}
QUIET = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False}


@pytest.fixture(params=KINDS)
def job(request: pytest.FixtureRequest, config: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """A config with two tasks, and the section of its module."""
    CALLS.clear()
    section = KINDS[request.param]
    if section == "system":
        config = request.getfixturevalue("system")
        del config["system"]["adapters"]
        config["system"]["adapters"] = {
            "predict": {"batch": {"_target_": "lighter.adapters.BatchAdapter", "input_accessor": 0}}
        }
    config[section] |= {"_target_": f"tests.task_jobs.{request.param}", "predict_tasks": ["probs", "misread"]}
    return config, section


def test_two_tasks_share_a_dependency(job: tuple[dict[str, Any], str]) -> None:
    config, section = job
    outcome = Runner().execute("predict", [config], return_predictions=True)
    assert (CALLS["softmax"], CALLS["probs"], CALLS["start"]) == (2, 2, 1), "50 digits in batches of 32"
    folder = outcome.folder.path / "predictions"
    assert sorted(path.name for path in folder.iterdir()) == ["misread", "probs"]

    module = outcome.trainer.lightning_module
    images, labels = digits(390, 440).tensors
    with torch.no_grad():
        expected = (module.network if section == "model" else module.model)(images).softmax(dim=1)
    probabilities = torch.load(folder / "probs/rank-0.pt")
    torch.testing.assert_close(probabilities, expected)
    wrong = (expected.argmax(dim=1) != labels).nonzero().flatten().tolist()
    misread = json.loads((folder / "misread/rank-0.json").read_text())
    assert [32 * batch_idx + place for _, batch_idx, place in misread] == wrong
    assert wrong

    first = outcome.result[0]
    if isinstance(module, Alone):
        assert list(first) == ["probs", "misread"]
        assert (CALLS["on_predict_start"], CALLS["on_predict_end"]) == (1, 1)
    elif isinstance(module, Beside):
        assert torch.equal(first, expected[:32].argmax(dim=1))
        assert CALLS["predict_step"] == 2
    else:
        assert set(first) == {"identifier", "input", "target", "pred", "loss", "metrics", "step", "epoch"}
        torch.testing.assert_close(first["pred"].softmax(dim=1), expected[:32])


def test_several_dataloaders(job: tuple[dict[str, Any], str]) -> None:
    config, section = job
    if section == "model":
        loaders = config["data"]
        loaders["predict_dataloader"] = [loaders["predict_dataloader"], loaders["val_dataloader"]]
    else:
        loaders = config["system"]["dataloaders"]
        loaders["predict"] = [loaders["predict"], loaders["val"]]
    outcome = Runner().execute("predict", [config])
    folder = outcome.folder.predictions
    assert len(torch.load(folder / "probs/rank-0.pt")) == 50 + 70
    places = json.loads((folder / "misread/rank-0.json").read_text())
    assert {(loader_idx, batch_idx) for loader_idx, batch_idx, _ in places} == {(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)}


def test_a_mistake_in_the_names_is_an_error_of_the_config_in_every_stage(job: tuple[dict[str, Any], str]) -> None:
    config, section = job
    for stage in ("fit", "test", "predict"):
        with pytest.raises(
            ConfigError, match=rf"{section}::predict_tasks: `predict_tasks` names `prob`, and .* `predict_probs`\?"
        ):
            Runner().run(stage, [config, f"={section}::predict_tasks=prob"])


def test_an_error_of_the_users_says_where_it_was(config: dict[str, Any]) -> None:
    config["model"] |= {"_target_": "tests.task_jobs.Failing", "predict_tasks": "probs"}
    with pytest.raises(IndexError, match="no such digit") as caught:
        Runner().run("predict", [config])
    assert caught.value.__notes__[:2] == [
        "in `predict_probs`",
        "at batch 0 of predict dataloader 0: a list of 2: [a tensor of shape (32, 64) and dtype float32,"
        " a tensor of shape (32,) and dtype int64]",
    ]


def test_without_a_runner_a_new_folder_is_made_each_time(own_place: Path) -> None:
    (own_place / "predictions").mkdir()
    (own_place / "predictions/mine.txt").write_text("kept")
    module = Beside(mlp(), predict_tasks=["probs"])
    trainer = pl.Trainer(**QUIET)
    for folder in ("predictions.2", "predictions.3"):
        [first, _] = trainer.predict(module, loader(390, 440))
        assert first.shape == (32,)
        assert [path.name for path in (own_place / folder).iterdir()] == ["probs"]
        assert len(torch.load(own_place / folder / "probs/rank-0.pt")) == 50
    assert (own_place / "predictions/mine.txt").read_text() == "kept"


def test_tasks_make_a_step_where_there_is_none() -> None:
    assert is_overridden("predict_step", Alone(mlp(), predict_tasks="probs"))
    assert not is_overridden("predict_step", Alone(mlp()))
    with pytest.raises(StepMissingError, match="Alone has no `predict_step`"):
        Alone(mlp()).predict_step(None, 0)
    with pytest.raises(ModeError, match="prediction tasks run while a trainer predicts"):
        Alone(mlp(), predict_tasks="probs").predict_step(None, 0)


def test_a_step_called_by_hand_is_the_step(own_place: Path) -> None:
    CALLS.clear()
    module = Beside(mlp(), predict_tasks="probs")
    batch = next(iter(loader(0, 4)))
    assert module.predict_step(batch, 0).shape == (4,)
    assert CALLS == {"predict_step": 1}
    pl.Trainer(**QUIET).predict(module, loader(0, 4))
    assert module.predict_step(batch, 0).shape == (4,)
    assert CALLS == {"predict_step": 3, "softmax": 1, "probs": 1, "start": 1}


class Reusing(lighter.LighterModule):
    """A step that takes only the batch, and a dependency that calls it."""

    def predict_step(self, batch):
        return self(batch[0])

    def predict_logits_dependency(self, batch):
        return self.predict_step(batch)

    def predict_places_start(self):
        return {"dependency": "logits"}

    def predict_places(self, batch, batch_idx, logits, step_output):
        assert torch.equal(logits, step_output)
        return batch_idx

    def predict_places_end(self, result, output_path):
        self.seen = result


def test_a_task_may_call_the_step_and_knows_more_than_it(own_place: Path) -> None:
    module = Reusing(mlp(), predict_tasks="places")
    pl.Trainer(**QUIET).predict(module, loader(0, 64))
    assert module.seen == [0, 1]


class Precise(lighter.LighterModule):
    def predict_kinds(self, batch):
        return self(batch[0]).dtype


def test_tasks_run_in_the_precision_of_the_trainer(own_place: Path) -> None:
    kinds = pl.Trainer(**QUIET, precision="bf16-mixed").predict(Precise(mlp(), predict_tasks="kinds"), loader(0, 8))
    assert kinds == [{"kinds": torch.bfloat16}]


class Unmixed(lighter.LighterModule):
    """Fails once, in the middle of a run."""

    fails = True

    def predict_a(self, batch):
        if self.fails:
            raise KeyError("a")
        return len(batch[0])

    def predict_a_end(self, result, output_path):
        self.seen = result


def test_a_failed_run_leaves_nothing_to_the_next() -> None:
    module, trainer = Unmixed(mlp(), predict_tasks="a"), pl.Trainer(**QUIET)
    with pytest.raises(KeyError):
        trainer.predict(module, loader(0, 64))
    with pytest.raises(ModeError):
        module.predict_step(None, 0)
    module.fails = False
    trainer.predict(module, loader(0, 64))
    assert module.seen == [32, 32]
    assert pickle.loads(pickle.dumps(module)).seen == [32, 32]


class Unsaved(lighter.LighterModule):
    def predict_nothing(self, batch):
        return None

    def predict_nothing_end(self, result, output_path):
        self.seen = result

    def predict_spare(self, batch):
        self.run = self._predict_tasks.run
        return torch.zeros(1000)


def test_memory_does_not_grow_with_what_nobody_keeps() -> None:
    module = Unsaved(mlp(), predict_tasks=["nothing", "spare"])
    pl.Trainer(**QUIET).predict(module, loader(0, 64), return_predictions=False)
    assert module.seen == []
    assert [task.state for task in module.run.tasks] == [[], []]


def test_a_system_without_data_for_predict_has_no_step_for_tasks_either() -> None:
    module = OfSystem(mlp(), dataloaders={"train": loader(0, 64)}, predict_tasks="probs")
    with pytest.raises(StepMissingError, match="Add `system::dataloaders::predict`"):
        pl.Trainer(**QUIET).predict(module, loader(0, 64))


def test_mistakes_before_the_loop_stop_the_run(own_place: Path) -> None:
    class Wrong(Alone):
        def predict_probs_start(self):
            return {"dependency": ["logits"]}

    with pytest.raises(ModuleValueError, match="Wrong has no method `predict_logits_dependency`"):
        pl.Trainer(**QUIET).predict(Wrong(mlp(), predict_tasks="probs"), loader(0, 64))
    assert not (own_place / "predictions").exists()
