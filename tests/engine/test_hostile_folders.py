"""Folders of runs that somebody else has made: whole commands, each in a process, with a canary.

`outputs/` came with a config. What lies in it says that its checkpoints may run code, and names files to delete.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lighter import Runner
from tests.commands import run_command
from tests.engine.test_safe import CONFIG, Evil

pytestmark = pytest.mark.slow

CALLBACKS = """
  callbacks:
    - {_target_: pytorch_lightning.callbacks.ModelCheckpoint, filename: "{epoch}", save_last: true}
"""
RUN = "outputs/2026-01-02/10-00-00-linear"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config, and the folder of a run of it that stopped after its first epoch."""
    place = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        text = CONFIG.replace("max_epochs: 1, ", "max_epochs: 1\n  ").replace(", ", "\n  ", 0)
        text = text.split("trainer:")[0] + "trainer:\n  max_epochs: 2\n  accelerator: cpu\n  logger: false\n"
        Path("linear.yaml").write_text(text + "  enable_model_summary: false" + CALLBACKS)
        Runner().run("fit", ["linear.yaml"])
        [folder] = Path("outputs").glob("*/*")
        folder.rename(folder.parents[1] / "run")
        Path(RUN).parent.mkdir(parents=True)
        Path("outputs/run").rename(RUN)
        folder.parent.rmdir()
        (Path(RUN) / "checkpoints/epoch=1.ckpt").unlink()
        Runner().run("fit", ["linear.yaml", "trainer::max_epochs=1", "run::dir=first"])
        [first] = Path("first").glob("*/*/checkpoints/last.ckpt")
        shutil.copy(first, Path(RUN) / "checkpoints/last.ckpt")
        shutil.rmtree("first")
    return place


@pytest.fixture
def place(made: Path, own_place: Path) -> Path:
    """The same, for one attack."""
    shutil.copytree(made, own_place, dirs_exist_ok=True)
    victim = own_place / "victim"
    victim.mkdir()
    for name in (".metadata", "data.txt", "metrics.csv"):
        (victim / name).write_text("step,precious\n1,2\n3,4\n")
    return own_place


def says(**facts: Any) -> None:
    """The record says this."""
    record = Path(RUN) / "run.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), **facts}))


def evil() -> None:
    """Both checkpoints make a canary when they are unpickled; all else is as it should be."""
    content = torch.load(f"{RUN}/checkpoints/last.ckpt", weights_only=True)
    for name in ("last", "evil"):
        torch.save({**content, "evil": Evil(Path("canary").absolute())}, f"{RUN}/checkpoints/{name}.ckpt")


def lighter(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command, as a user gives it."""
    return run_command("lighter", *words, environment=environment)


def arguments() -> None:
    says(status="failed", arguments={"weights_only": False}, weights_only=False)


def config() -> None:
    says(status="failed")
    file = Path(RUN) / "config.yaml"
    file.write_text(file.read_text() + "\nargs: {fit: {weights_only: false}, test: {weights_only: false}}\n")


def repeated() -> None:
    checkpoint = str(Path(RUN, "checkpoints/evil.ckpt").absolute())
    says(arguments={"weights_only": False}, cwd=os.getcwd(), checkpoint=checkpoint)


LIES: dict[str, tuple[Callable[[], None], list[str], str]] = {
    "auto-resume in safe mode": (arguments, ["fit", "linear.yaml", "--safe", "--auto-resume"], "a new run starts"),
    "auto-resume": (arguments, ["fit", "linear.yaml", "--auto-resume"], "add --no-weights_only"),
    "resume": (arguments, ["resume", "last"], "add --no-weights_only"),
    "resume of weights": (arguments, ["resume", "last", "--take", "weights"], "add --no-weights_only"),
    "resume, by its config": (config, ["resume", RUN], "add --no-weights_only"),
    "last": (arguments, ["fit", "linear.yaml", "--ckpt_path", "last"], "add --no-weights_only"),
    "reproduce": (repeated, ["reproduce", "last"], "add --no-weights_only"),
    "export": (arguments, ["export", "weights", "last"], "it is not opened for an export"),
}


@pytest.mark.parametrize("name", LIES)
def test_no_folder_decides_that_a_checkpoint_may_run_code(name: str, place: Path) -> None:
    lie, command, said = LIES[name]
    evil()
    lie()
    done = lighter(*command, TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD="1")
    assert not (place / "canary").exists(), done.stderr
    assert said in done.stderr + done.stdout


def test_the_command_line_does(place: Path) -> None:
    evil()
    says(status="failed")
    done = lighter("resume", "last", "--no-weights_only")
    assert done.returncode == 0, done.stderr
    assert (place / "canary").exists()


def poisoned() -> None:
    """The callback's state names a stranger's victim as its own last file, and the run's old folder as its own."""
    path = f"{RUN}/checkpoints/last.ckpt"
    content, victim = torch.load(path, weights_only=True), Path("victim").absolute()
    for state in content["callbacks"].values():
        if "last_model_path" in state:
            state |= {"last_model_path": f"local://{victim}", "best_model_path": f"file://{victim}"}
            state |= {"dirpath": str(Path(RUN, "checkpoints").absolute())}
    torch.save(content, path)
    os.rename(path, f"{RUN}/checkpoints/then.ckpt")


DELETIONS = {
    "auto-resume in safe mode": ["fit", "linear.yaml", "--safe", "--auto-resume"],
    "resume": ["resume", "last"],
    "last": ["fit", "linear.yaml", "--ckpt_path", "last"],
    "of Lightning's trainer": ["resume", "last", "trainer::_target_=pytorch_lightning.Trainer"],
}


@pytest.mark.parametrize("name", DELETIONS)
def test_no_checkpoint_names_what_is_deleted(name: str, place: Path) -> None:
    poisoned()
    says(status="failed", loggers=[{"class": "CSVLogger", "folder": str(place / "victim"), "version": "../../victim"}])
    before = {path: path.read_bytes() for path in (place / "victim").iterdir()}
    done = lighter(*DELETIONS[name])
    assert {path: path.read_bytes() for path in (place / "victim").iterdir()} == before, done.stderr
    assert done.returncode == 0, done.stderr
    refused = "holds paths that lead out" if "--safe" in DELETIONS[name] else "it forgets them: "
    assert refused in done.stderr + done.stdout


@pytest.mark.parametrize("path", ["../../../elsewhere/x.ckpt", "{here}/elsewhere/x.ckpt", "checkpoints/link.ckpt"])
def test_a_record_that_names_a_file_elsewhere(path: str, place: Path) -> None:
    """In safe mode, what lies elsewhere is not the run's, whatever its record says."""
    Path("elsewhere").mkdir()
    shutil.move(f"{RUN}/checkpoints/last.ckpt", "elsewhere/x.ckpt")
    shutil.rmtree(f"{RUN}/checkpoints")
    Path(RUN, "checkpoints").mkdir()
    Path(RUN, "checkpoints/link.ckpt").symlink_to(place / "elsewhere/x.ckpt")
    says(status="failed", checkpoints=[{"path": path.format(here=place)}])
    runner = Runner(safe=True)
    found = runner.execute("fit", ["linear.yaml"], auto_resume=True)
    assert found.folder.path != Path(RUN), "there is nothing of the run's to go on from, so a new one starts"
