"""kill -9 while a checkpoint is saved, again and again in the same folder.

`python -m tests.faults.inject_kills_in_saves`. A warm process forks one that trains and saves after every step. It
tells by a pipe when a save begins and ends, and is killed at a random moment of one. Then no file with a final name is
torn, the newest that was complete is there or one that is newer, and the next fit goes on from it and sweeps what is
left.
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
import signal
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

import lighter
from lighter.files.integrity import verify
from lighter.trainer.checkpointing.io import CheckpointFiles
from tests.faults.table import Results, main
from tests.forks import fork

KILLS = 50  # of each of nine rows: two places for temporary files or beside the training, three settings
SHORT = 2
STEPS = 6  # of a fit, a save after each
ELSEWHERE = Path("/dev/shm")
IN_A_ROW = 3  # kills in one folder


class Steps(pl.LightningModule):
    """Weights that are all the number of the step: a checkpoint of two moments would show."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1 << 19))
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> None:
        optimizer = self.optimizers()
        optimizer.step()
        with torch.no_grad():
            self.weight.fill_(self.global_step)
        self.log("score", float(self.global_step))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.0)


def callback(top_k: int) -> ModelCheckpoint:
    """How Lightning keeps the newest, the best one, and the three best ones beside the newest."""
    if top_k == 0:
        return ModelCheckpoint("checkpoints", save_top_k=0, save_last=True, every_n_train_steps=1)
    if top_k == 1:
        return ModelCheckpoint("checkpoints", "last-{step}", monitor="score", mode="max", every_n_train_steps=1)
    return ModelCheckpoint(
        "checkpoints", "{step}", monitor="score", mode="max", save_top_k=top_k, save_last=True, every_n_train_steps=1
    )


@dataclass
class Save:
    """One save, as the process told it; `seconds` is None if it was not over."""

    step: int
    seconds: float | None = None


def train(top_k: int, pipe: int, temporary: Path, beside: bool) -> None:
    """What is killed: a fit that goes on, if there is anything to go on from, and saves at once or beside."""
    os.environ["TMPDIR"], tempfile.tempdir = str(temporary), None
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    trainer = lighter.Trainer(
        accelerator="cpu",
        logger=False,
        callbacks=[callback(top_k)],
        enable_model_summary=False,
        max_steps=10**6,
        async_save=beside,
    )
    save = CheckpointFiles.save_checkpoint

    def told(files: Any, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        begin = time.perf_counter()
        os.write(pipe, f"begin {checkpoint['global_step']}\n".encode())
        save(files, checkpoint, path, storage_options)
        os.write(pipe, f"end {time.perf_counter() - begin}\n".encode())

    CheckpointFiles.save_checkpoint = told  # type: ignore[method-assign]
    trainer.fit(Steps(), torch.utils.data.DataLoader(torch.zeros(10**6)), ckpt_path="last")


class Victim:
    """A process that trains, and what it told of its saves."""

    def __init__(self, top_k: int, temporary: Path, beside: bool) -> None:
        self.saves: list[Save] = []
        self._text = b""
        self._pipe, write = os.pipe()
        self.pid = fork(lambda: train(top_k, write, temporary, beside), Path("output.txt"))
        os.close(write)

    def wait_for(self, save: int) -> bool:
        """Until that save has begun, counted from 0; False if the process ended before that."""
        while len(self.saves) <= save and self._read():
            pass
        return len(self.saves) > save

    def kill(self) -> None:
        """SIGKILL; afterwards all is known that it told."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        while self._read():
            pass
        os.close(self._pipe)

    def _read(self) -> bool:
        """What it told since; False when nobody is left who could."""
        found = os.read(self._pipe, 4096)
        *lines, self._text = (self._text + found).split(b"\n")
        for kind, value in (line.decode().split() for line in lines):
            if kind == "begin":
                self.saves.append(Save(int(value)))
            else:
                self.saves[-1].seconds = float(value)
        return bool(found)


def run(short: bool) -> Results:
    """Kill in all nine settings."""
    results, moments = Results("kill -9 inside saves"), random.Random(11)
    with a_folder(None) as desks, a_folder(None) as here, a_folder(ELSEWHERE if ELSEWHERE.is_dir() else None) as there:
        places = {"TMPDIR here": (here, False), "TMPDIR elsewhere": (there, False), "async_save": (here, True)}
        for (where, (temporary, beside)), top_k in itertools.product(places.items(), (0, 1, 3)):
            row = results.row(f"{where}, save_top_k={top_k}: nothing is torn or lost")
            while row.tried < (SHORT if short else KILLS):
                desk = Path(tempfile.mkdtemp(dir=desks))
                kill_in_a_row(row, desk, (temporary, beside), top_k, moments)
                shutil.rmtree(desk)
            left = [path.name for path in temporary.iterdir()]
            results.row("nothing is left in TMPDIR").add(f"{where}, save_top_k={top_k}", held=not left, why=str(left))
    return results


@contextmanager
def a_folder(parent: Path | None) -> Iterator[Path]:
    """A folder for as long as this lasts; the process is where it was afterwards."""
    place = Path.cwd()
    with tempfile.TemporaryDirectory(dir=parent) as name:
        yield Path(name)
        os.chdir(place)


def kill_in_a_row(row: Any, desk: Path, place: tuple[Path, bool], top_k: int, moments: random.Random) -> None:
    """Some kills in one folder; those that came when a save was over do not count."""
    os.chdir(desk)
    complete, seconds = 0, [0.01]  # the newest step that was told to be saved; how long saves took
    for _ in range(IN_A_ROW):
        victim = Victim(top_k, *place)
        if not victim.wait_for(moments.randrange(STEPS)):
            last = (desk / "output.txt").read_text().strip().splitlines()[-1]
            row.add(f"{desk.name}, going on after step {complete}", held=False, why=last)
            victim.kill()
            return
        time.sleep(moments.uniform(0, statistics.median(seconds)))
        victim.kill()
        over = [save for save in victim.saves if save.seconds is not None]
        seconds += [save.seconds for save in over if save.seconds is not None]
        began, expected = victim.saves[0].step, complete + (top_k != 3)  # where two saves a step, `last` is the second
        complete = max([complete, *(save.step for save in over)])
        if len(over) < len(victim.saves):
            why = what_is_wrong(desk / "checkpoints", complete)
            if not why and began < expected:
                why = f"the fit saved step {began} first, and was to go on with step {expected}"
            row.add(f"{desk.name}, in the save of step {victim.saves[-1].step}", held=not why, why=why)


def what_is_wrong(folder: Path, complete: int) -> str:
    """What is not as it should be in a folder in which a save was interrupted; nothing, it is hoped."""
    steps, partial = [0], 0
    for path in folder.iterdir() if folder.exists() else ():  # the very first save makes it
        if path.suffix != ".ckpt":
            partial += 1
            continue
        try:
            manifest = verify(path)
            content = torch.load(path, weights_only=True)
        except Exception as error:  # noqa: BLE001
            return f"{path.name}: {error}"
        step = content["global_step"]
        if manifest is None or manifest.step != step or not bool((content["state_dict"]["weight"] == step).all()):
            return f"{path.name} is of two moments"
        steps.append(step)
    if partial > 1:
        return f"{partial} partial files, where one save was interrupted: those before were not swept"
    return "" if max(steps) >= complete else f"step {complete} was saved, and {max(steps)} is the newest that is there"


if __name__ == "__main__":
    sys.exit(main(run))
