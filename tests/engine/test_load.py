"""`lighter.load` and `lighter.build`: a trained module, or the parts of a config, in Python and without a run."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import lighter
from lighter.errors import CheckpointError, ConfigError, RefusedCheckpointError, RunError
from tests.conftest import digits_config
from tests.jobs import Classifier

SHORT = ["trainer::max_epochs=1"]


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """Where a short fit ran, and what it came to."""
    runner, folder = lighter.Runner(), tmp_path_factory.mktemp("fitted")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        runner.run("fit", [digits_config(), *SHORT])
    return folder, runner.outcome


@pytest.fixture
def run(fitted: tuple[Path, Any], own_place: Path) -> Any:
    """The same, for one test, in its folder."""
    shutil.copytree(fitted[0], own_place, dirs_exist_ok=True)
    return fitted[1]


def weights(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)["state_dict"]


def test_what_a_run_came_to_is_one_attribute_away(run: Any) -> None:
    assert run.result is None
    assert isinstance(run.module, Classifier)
    assert run.metrics["val/loss/epoch"] == run.checkpoints.best.score
    assert run.checkpoints.last == run.folder.checkpoints / "last.ckpt"


def test_a_run_that_failed_has_no_outcome(config: dict[str, Any]) -> None:
    runner = lighter.Runner()
    runner.run("fit", [config, *SHORT])
    with pytest.raises(ConfigError):
        runner.run("fit", [{**config, "modle": 1}])
    assert runner.outcome is None


@pytest.mark.parametrize("name", ["last", "best"])
def test_by_run_and_name(name: str, run: Any) -> None:
    """The best is the default, as for `lighter export weights`."""
    file = run.checkpoints.last if name == "last" else run.checkpoints.best.path
    loaded = [lighter.load("last", name), lighter.load(run.folder.path, name), lighter.load(run.folder.id, file.name),
              lighter.load(file), *([lighter.load()] if name == "best" else [])]  # fmt: skip
    for module in loaded:
        assert type(module) is Classifier
        assert not any(part.training for part in module.modules())
        assert all(torch.equal(value, weights(file)[key]) for key, value in module.state_dict().items())


def test_it_is_what_the_fit_left(run: Any) -> None:
    batch = torch.rand(3, 64)
    module = lighter.load("last", "last")
    assert torch.equal(module(batch), run.module.eval()(batch))


def test_nothing_is_drawn_written_or_built_that_predicting_does_not_need(run: Any) -> None:
    before = sorted(map(str, Path().rglob("*"))), torch.get_rng_state()
    module = lighter.load(overrides=["model::optimizer::_target_=torch.optim.Nothing"])
    assert module.optimizer is None
    assert sorted(map(str, Path().rglob("*"))) == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])


def test_the_newest_run_that_has_checkpoints_is_meant(config: dict[str, Any], run: Any) -> None:
    lighter.Runner().run("test", [config], ckpt_path="last", verbose=False)
    module = lighter.load(ckpt_path="last")
    assert torch.equal(module.network[0].weight, weights(run.checkpoints.last)["network.0.weight"])


def test_by_the_class(run: Any) -> None:
    module = Classifier.load_from_checkpoint(run.checkpoints.last)
    assert type(module) is Classifier
    assert module.training, "as Lightning leaves it"
    assert isinstance(lighter.LighterModule.load_from_checkpoint(run.checkpoints.last, map_location="cpu"), Classifier)
    other = Classifier.load_from_checkpoint(run.checkpoints.last, criterion=nn.NLLLoss())
    assert isinstance(other.criterion, nn.NLLLoss)
    with pytest.raises(CheckpointError, match="is of a Classifier, which is no System"):
        lighter.System.load_from_checkpoint(run.checkpoints.last)


def test_what_fails_says_why(run: Any, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run under outputs is called `lost`"):
        lighter.load("lost")
    with pytest.raises(CheckpointError, match=r"there is no checkpoint mine\.ckpt"):
        lighter.load("last", "mine.ckpt")
    with pytest.raises(ConfigError, match="there is no argument `out_feature`"):
        lighter.load(overrides=["=model::network={_target_: torch.nn.Linear, in_features: 64, out_feature: 7}"])
    with pytest.raises(CheckpointError, match="does not fit the module that its config makes now"):
        lighter.load(overrides=["=model::network={_target_: torch.nn.Linear, in_features: 64, out_features: 7}"])
    plain = {key: value for key, value in torch.load(run.checkpoints.last).items() if key != "lighter"}
    torch.save(plain, tmp_path / "plain.ckpt")
    with pytest.raises(CheckpointError, match=r"has no config with it(.|\n)*MyModule\.load_from_checkpoint"):
        lighter.load(tmp_path / "plain.ckpt")


def test_a_checkpoint_of_lightning_is_loaded_as_lightning_does(tmp_path: Path) -> None:
    trainer = lighter.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, barebones=True)
    trainer.strategy.connect(module := Classifier(network=nn.Linear(4, 3)))
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    loaded = Classifier.load_from_checkpoint(tmp_path / "a.ckpt", network=nn.Linear(4, 3))
    assert torch.equal(loaded.network.weight, module.network.weight)


class Canary:
    """Code in a checkpoint."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("canary",)


def test_an_untrusted_checkpoint(run: Any, tmp_path: Path) -> None:
    content = torch.load(run.checkpoints.last)
    torch.save({**content, "callbacks": Canary()}, tmp_path / "pickle.ckpt")
    with pytest.raises(RefusedCheckpointError, match="can run code"):
        lighter.load(tmp_path / "pickle.ckpt")
    config = {**content["lighter"]["config"], "vars": {"code": "$__import__('os').mkdir('canary')"}}
    config["model"] = {**config["model"], "criterion": "@vars::code"}
    torch.save({**content, "lighter": {"config": config}}, tmp_path / "config.ckpt")
    with pytest.raises(ConfigError, match="safe mode"):
        lighter.load(tmp_path / "config.ckpt", safe=True)
    assert not Path("canary").exists()


def test_a_run_in_safe_mode_is_loaded_in_safe_mode(run: Any) -> None:
    facts = json.loads(run.folder.record.read_text())
    run.folder.record.write_text(json.dumps({**facts, "safe": True}))
    with pytest.raises(RunError, match="ran in safe mode"):
        lighter.load(run.checkpoints.last)


def test_the_parts_of_a_config_are_those_of_a_fit(config: dict[str, Any], run: Any) -> None:
    before = sorted(map(str, Path().rglob("*")))
    parts = lighter.build([config, *SHORT])
    assert sorted(map(str, Path().rglob("*"))) == before
    parts.trainer.fit(parts.module, parts.data)
    assert all(torch.equal(value, run.module.state_dict()[key]) for key, value in parts.module.state_dict().items())


def test_a_stage_is_built_with_what_it_needs(config: dict[str, Any]) -> None:
    assert lighter.build([config], "predict").module.optimizer is None
    with pytest.raises(ConfigError, match="nothing_such"):
        lighter.build([{**config, "nothing_such": 1}])
