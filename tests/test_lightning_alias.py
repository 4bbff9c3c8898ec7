"""Both packages of Lightning are one: whichever a user writes, in configs, modules, scripts and checkpoints."""

from __future__ import annotations

import logging
import subprocess
import sys
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

import pytest
import torch

from lighter import Runner, SafeMode, lightning_alias
from lighter.config.locate import locate
from lighter.trainer.resume.encoding import restored
from tests.commands import run_command

SPELLINGS = ("pytorch_lightning", "lightning.pytorch")
JOB = """
import {package} as pl
import torch
from {package}.callbacks import Callback
from {package}.trainer.states import RunningStage
from torch.utils.data import DataLoader, TensorDataset

class Data(pl.LightningDataModule):
    def loader(self, count, **options):
        x = torch.randn(count, 8, generator=torch.Generator().manual_seed(count))
        return DataLoader(TensorDataset(x, (x.sum(1) > 0).long()), 16, **options)
    def train_dataloader(self):
        return self.loader(64, shuffle=True)
    def val_dataloader(self):
        return self.loader(32)
    def test_dataloader(self):
        return self.loader(48)

class Net(pl.LightningModule):
    def __init__(self, hidden=8):
        super().__init__()
        self.save_hyperparameters()
        self.stage = RunningStage.TRAINING
        self.net = torch.nn.Sequential(torch.nn.Linear(8, hidden), torch.nn.Dropout(0.5), torch.nn.Linear(hidden, 2))
    def loss(self, batch, name):
        loss = torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1])
        self.log(name, loss, sync_dist=True)
        return loss
    def training_step(self, batch, batch_idx):
        return self.loss(batch, "train_loss")
    def validation_step(self, batch, batch_idx):
        self.loss(batch, "val_loss")
    def test_step(self, batch, batch_idx):
        self.loss(batch, "test_loss")
    def on_validation_end(self):
        self.stage = RunningStage.VALIDATING
    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 1e-2)

class Epochs(Callback):
    def __init__(self):
        self.seen = []
    def on_train_epoch_end(self, trainer, pl_module):
        self.seen.append(trainer.current_epoch)
    def state_dict(self):
        return {{"seen": self.seen}}
    def load_state_dict(self, state):
        self.seen = state["seen"]
"""
CONFIG = """
seed: 1
model: {{_target_: {job}.Net}}
data: {{_target_: {job}.Data}}
trainer:
  max_epochs: 2
  accelerator: cpu
  log_every_n_steps: 2
  enable_model_summary: false
  callbacks:
    - _target_: {job}.Epochs
    - {{_target_: {package}.callbacks.EarlyStopping, monitor: val_loss, patience: 9}}
    - {{_target_: {package}.callbacks.ModelCheckpoint, monitor: val_loss, save_last: true, filename: best}}
  logger: {{_target_: {package}.loggers.CSVLogger, save_dir: logs}}
"""
SCRIPT = """
from {job} import Data, Epochs, Net
def main():
    quiet = dict.fromkeys(["enable_progress_bar", "enable_model_summary"], False)
    trainer = lighter.Trainer(max_epochs=2, callbacks=[Epochs()], accelerator="cpu", default_root_dir="out",
                              log_every_n_steps=2, **quiet, **{options})
    pl.seed_everything(1)
    trainer.fit(Net(), Data(), ckpt_path={ckpt_path!r})
    print(trainer.loop_choice)
if __name__ == "__main__":
    main()
"""
IMPORTS = {  # of a script; its job is imported afterwards, in either spelling
    "lightning first": "import lightning as L\nimport lightning.pytorch as pl\nimport lighter\n",
    "its job in between": "import lighter, job_1, pytorch_lightning as pl\nassert job_1.pl is pl\n",
    "callbacks first": "from lighter.callbacks import Freezer\nimport lightning.pytorch as pl\nimport lighter\n",
    "fabric first": "import lightning_fabric, lighter, lightning.pytorch as pl\n",
}


@pytest.fixture
def jobs(own_place: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Files of the same job in both spellings, and of its config."""
    monkeypatch.syspath_prepend(str(own_place))
    monkeypatch.setenv("PYTHONPATH", str(own_place))
    for number, package in enumerate(SPELLINGS):
        monkeypatch.delitem(sys.modules, f"job_{number}", raising=False)
        (own_place / f"job_{number}.py").write_text(JOB.format(package=package))
        (own_place / f"config_{number}.yaml").write_text(CONFIG.format(job=f"job_{number}", package=package))
    return ["config_0.yaml", "config_1.yaml"]


def python(*words: str, **options: Any) -> str:
    """What a process prints that ends well."""
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=300, check=False, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def command(*words: str) -> str:
    """What a command prints that ends well."""
    done = run_command("lighter", *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def state(path: Path) -> dict[str, Any]:
    """The weights, callbacks and loops of a checkpoint; it holds nothing that one package alone can read."""
    content: dict[str, Any] = torch.load(path, weights_only=True)
    return {key: content[key] for key in ("state_dict", "hyper_parameters", "loops", "callbacks")}


def same(first: Any, second: Any) -> bool:
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    return torch.equal(first, second) if isinstance(first, torch.Tensor) else bool(first == second)


def fitted(config: str, *overrides: str, **arguments: Any) -> tuple[Any, Path]:
    """The trainer of a fit, and the last checkpoint."""
    run = Runner().execute("fit", [config, *overrides], **arguments)
    return run.trainer, run.folder.checkpoints / "last.ckpt"


def test_the_runner_trains_the_same_in_both_spellings_and_goes_on_in_the_other(jobs: list[str]) -> None:
    (first, of_first), (second, of_second) = map(fitted, jobs)
    assert first.loop_choice == second.loop_choice == ("lean", "")
    assert first.resume_choice == second.resume_choice
    assert same(state(of_first)["state_dict"], state(of_second)["state_dict"])
    assert Runner().run("test", [jobs[0]], ckpt_path=of_second) == Runner().run("test", [jobs[1]], ckpt_path=of_first)
    longer = "trainer::max_epochs=3"
    _, whole = fitted(jobs[0], longer)
    for config, checkpoint in ((jobs[0], of_second), (jobs[1], of_first)):
        _, last = fitted(config, longer, ckpt_path=checkpoint)
        assert same(state(last)["state_dict"], state(whole)["state_dict"])
        assert state(last)["callbacks"]["Epochs"] == {"seen": [0, 1, 2]}


@pytest.mark.long
def test_the_command_goes_on_in_the_other_spelling(jobs: list[str], own_place: Path) -> None:
    assert "No problems" in command("check", jobs[1])
    command("fit", jobs[1])
    (last,) = own_place.glob("outputs/*/*/checkpoints/last.ckpt")
    command("fit", jobs[0], "--ckpt_path", str(last), "trainer::max_epochs=3")
    command("resume", "last", "trainer::max_epochs=4")
    newest = max(own_place.glob("outputs/*/*/checkpoints/last.ckpt"), key=lambda path: path.stat().st_mtime)
    assert state(newest)["callbacks"]["Epochs"] == {"seen": [0, 1, 2, 3]}


@pytest.mark.long
@pytest.mark.parametrize("order", IMPORTS)
def test_scripts_in_any_order_of_imports_go_on_where_the_runner_was(
    order: str, jobs: list[str], own_place: Path
) -> None:
    last = Runner().execute("fit", [jobs[0], "trainer::max_epochs=1"]).folder.checkpoints / "last.ckpt"
    script = own_place / "script.py"
    script.write_text(IMPORTS[order] + SCRIPT.format(job="job_1", options={}, ckpt_path=str(last)))
    assert "LoopChoice(name='lean', reason='')" in python(str(script))
    whole = Runner().execute("fit", [jobs[0]]).folder.checkpoints / "last.ckpt"
    assert same(state(own_place / "out/checkpoints/last.ckpt")["state_dict"], state(whole)["state_dict"])


@pytest.mark.long
def test_spawned_ranks_have_one_lightning_too(jobs: list[str], own_place: Path) -> None:
    script = own_place / "script.py"
    options = {"strategy": "ddp_spawn", "devices": 2}
    script.write_text("import lighter\n" + SCRIPT.format(job="job_1", options=options, ckpt_path=None))
    script.write_text(script.read_text().replace("pl.seed", "__import__('lightning').seed"))
    try:
        python(str(script))
    except AssertionError as error:
        # torch aborts a spawned process at its end now and then, when all is done ("terminate called ...")
        assert "max_epochs=2` reached" in str(error) and "signal SIGABRT" in str(error)  # noqa: PT017, PT018
    assert (own_place / "out/checkpoints/last.ckpt").is_file()


def test_importing_lighter_changes_nothing_until_lightning_is_needed() -> None:
    code = """
import os, sys
before = list(sys.meta_path), dict(os.environ)
import lighter, lighter.cli, lighter.callbacks, lighter.errors
assert (sys.meta_path, dict(os.environ)) == before
assert not {"lightning", "pytorch_lightning"} & set(sys.modules)
"""
    environment = {"PATH": "", "PYTHONPATH": ""}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


BOTH = "import pytorch_lightning, lightning.pytorch, lighter, job_1\n"
VERSIONS = """
import lighter.lightning_alias as alias
alias._versions = lambda: {"lightning": "2.5.0", "pytorch-lightning": "2.6.6"}
import lighter, job_1
"""
REFUSALS = """
def fails(call, *words):
    try:
        call()
    except Exception as error:
        assert all(word in str(error) for word in (*words, {hint!r})), error
        print(type(error).__name__)
trainer = lighter.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
fails(lambda: trainer.fit(job_1.Net()), "job_1.Net is of `lightning.pytorch`, and Lighter runs `pytorch_lightning`")
fails(lambda: lighter.Trainer(callbacks=[job_1.Epochs()]), "job_1.Epochs is of `lightning.pytorch`")
fails(lambda: lighter.Runner().run("fit", ["config_1.yaml"]), "config_1.yaml:3:19: model: job_1.Net",
      "trainer::callbacks::0", "trainer::callbacks::2", "trainer::logger: lightning.pytorch.loggers")
"""


@pytest.mark.long
@pytest.mark.parametrize(
    ("start", "hint"),
    [(BOTH, "both packages were imported before Lighter"), (VERSIONS, "pip install lightning==2.6.6")],
    ids=["both loaded before", "versions differ"],
)
def test_a_second_copy_is_refused_by_name(start: str, hint: str, jobs: list[str], own_place: Path) -> None:
    (own_place / "script.py").write_text(start + REFUSALS.format(hint=hint))
    assert python("script.py").split() == ["ModuleTypeError", "ModuleTypeError", "ConfigError"]


def test_modules_attributes_and_loggers() -> None:
    import lightning.fabric.utilities.data as fabric_data
    import lightning.pytorch.callbacks.model_checkpoint as aliased
    import lightning_fabric.utilities.data
    import pytorch_lightning.callbacks.model_checkpoint

    import lightning

    assert aliased is pytorch_lightning.callbacks.model_checkpoint
    assert fabric_data is lightning_fabric.utilities.data
    assert lightning.pytorch is pytorch_lightning
    assert lightning.Trainer is pytorch_lightning.Trainer
    assert lightning.pytorch.__version__ == lightning.__version__ == pytorch_lightning.__version__
    assert aliased.__spec__.name in aliased.__name__
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'lightning.pytorch.nothing'"):
        __import__("lightning.pytorch.nothing")
    for package in ("pytorch.utilities.rank_zero", "fabric.utilities.seed"):
        other = lightning_alias.canonical(f"lightning.{package}")
        assert logging.getLogger(f"lightning.{package}") is logging.getLogger(other)


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("lightning.pytorch.Trainer", "pytorch_lightning.Trainer"),
        ("lightning.fabric.Fabric", "lightning_fabric.Fabric"),
        ("pytorch_lightning.Trainer", "pytorch_lightning.Trainer"),
        ("lightning.pytorch", "pytorch_lightning"),
        ("lightning.pytorch_extra.X", "lightning.pytorch_extra.X"),
        ("lightning.Trainer", "lightning.Trainer"),
        ("torch.nn.Linear", "torch.nn.Linear"),
    ],
)
def test_canonical_names(name: str, canonical: str) -> None:
    assert lightning_alias.canonical(name) == canonical


def test_a_name_is_found_where_only_the_other_package_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    class NotInstalled(MetaPathFinder):
        def find_spec(self, fullname: str, path: Any, target: Any = None) -> None:
            if fullname == "lightning":
                raise ModuleNotFoundError("No module named 'lightning'", name="lightning")

    for name in [name for name in sys.modules if name.partition(".")[0] == "lightning"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [NotInstalled(), *sys.meta_path])
    assert locate("lightning.pytorch.callbacks.Timer") is locate("pytorch_lightning.callbacks.Timer") is not None


def test_safe_mode_takes_either_spelling() -> None:
    for allowed in SPELLINGS:
        mode = SafeMode(allow=[f"{allowed}.callbacks.LambdaCallback"])
        for written in SPELLINGS:
            assert mode.locate(f"{written}.callbacks.LambdaCallback") is not None
            assert mode.locate(f"{written}.Trainer") is not None
            assert mode.rule(f"{written}.Trainer", "model_registry") == "refused"
            assert not mode.permits(f"{written}.callbacks.OnExceptionCheckpoint")


@pytest.mark.long
@pytest.mark.parametrize("package", SPELLINGS)
@pytest.mark.parametrize("start", ["import lighter; lighter.Runner", "import {package}, lighter; lighter.Runner"])
def test_a_checkpoint_of_either_cli_may_make_its_module(start: str, package: str) -> None:
    code = (
        start.format(package=package)
        + f"""
from {package}.core import saving
print(sorted(saving._ALLOWED_INSTANTIATORS))
"""
    )
    assert python("-c", code).strip() == str([f"{name}.cli.instantiate_module" for name in sorted(SPELLINGS)])


def test_an_enum_of_lightnings_is_saved_under_one_name() -> None:
    from lightning.pytorch.trainer.states import RunningStage

    encoded = ["enum", "pytorch_lightning.trainer.states.RunningStage", "TESTING"]
    assert restored(encoded, RunningStage.TRAINING, torch.device("cpu")) is RunningStage.TESTING
