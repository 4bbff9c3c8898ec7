"""kill -9 while two processes save a sharded checkpoint, again and again in the same folder.

`python -m tests.faults.inject_sharded`. A warm process forks two that train a module sharded over both (FSDP2 on the
CPU), and save after every step. The first tells by a pipe when a save begins and ends. At a random moment of a save,
both are killed, or either and then the other. Then no folder with a final name is torn. The newest that was complete is
there, or one that is newer. The next fit goes on from it and sweeps what is left. Every fourth fit is of one process.
In one of the settings, the section `parallel` divides the module.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import statistics
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_utilities.core.rank_zero import rank_zero_only
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.strategies import ModelParallelStrategy
from torch import nn
from torch.distributed.fsdp import fully_shard

import lighter
from lighter.files.integrity import verify
from lighter.parallel.settings import ParallelSettings
from lighter.parallel.strategy import ParallelStrategy
from lighter.trainer.checkpointing.io import CheckpointFiles
from lighter.trainer.checkpointing.sharded_reading import read_whole
from tests.faults.inject_kills_in_saves import a_folder
from tests.faults.table import Results, main
from tests.forks import fork, rank_variables

KILLS, SHORT = 50, 4
STEPS = 4  # a kill comes in one of the first saves of a fit
IN_A_ROW = 5  # kills in one folder
PARALLEL = "parallel"
SETTINGS = {"one file": (0, False), PARALLEL: (0, False), "three and the last": (3, False), "async_save": (1, True)}


class Steps(pl.LightningModule):
    """Weights that are all the number of the step: a checkpoint of two moments would show."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(512, 512)
        self.automatic_optimization = False

    def configure_model(self) -> None:
        if not hasattr(self.layer, "unshard"):
            fully_shard(self.layer, mesh=self.device_mesh["data_parallel"])

    def training_step(self, batch: Any, batch_idx: int) -> None:
        optimizer: Any = self.optimizers()
        optimizer.step()
        with torch.no_grad():
            for weight in self.parameters():
                weight.fill_(self.global_step)
        self.log("score", float(self.global_step))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.0, momentum=0.9)


class Divided(lighter.LighterModule):
    """The same, divided as a config with `parallel` has it."""

    def __init__(self) -> None:
        super().__init__(network=nn.Linear(512, 512))
        self.automatic_optimization = False

    training_step = Steps.training_step
    configure_optimizers = Steps.configure_optimizers


def strategy(setting: str, ranks: int) -> ModelParallelStrategy:
    if setting == PARALLEL:
        return ParallelStrategy(ParallelSettings(data=ranks))
    return ModelParallelStrategy(data_parallel_size=ranks, tensor_parallel_size=1)


def callback(top_k: int) -> ModelCheckpoint:
    if top_k == 0:
        return ModelCheckpoint("checkpoints", save_top_k=0, save_last=True, every_n_train_steps=1)
    return ModelCheckpoint(
        "checkpoints", "{step}", monitor="score", mode="max", save_top_k=top_k, save_last=True, every_n_train_steps=1
    )


def train(setting: str, ranks: int, pipe: int) -> None:
    """What is killed: a fit that goes on, if there is anything to go on from."""
    top_k, in_background = SETTINGS[setting]
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    trainer = lighter.Trainer(
        accelerator="cpu",
        devices=ranks,
        strategy=strategy(setting, ranks),
        logger=False,
        callbacks=[callback(top_k)],
        enable_model_summary=False,
        enable_progress_bar=False,
        max_steps=10**6,
        async_save=in_background,
    )
    save = CheckpointFiles.save_folder

    def told(files: Any, checkpoint: dict[str, Any], path: Any) -> None:
        begin, step = time.perf_counter(), checkpoint["global_step"]
        if trainer.is_global_zero:
            os.write(pipe, f"begin {step}\n".encode())
        save(files, checkpoint, path)
        if trainer.is_global_zero:
            os.write(pipe, f"end {time.perf_counter() - begin}\n".encode())

    CheckpointFiles.save_folder = told  # type: ignore[method-assign]
    module = Divided() if setting == PARALLEL else Steps()
    trainer.fit(module, torch.utils.data.DataLoader(torch.zeros(10**6), batch_size=1), ckpt_path="last")


@dataclass
class Save:
    """One save, as the first process told it; `seconds` is None if it was not over."""

    step: int
    seconds: float | None = None


class Victims:
    """Processes that train together, and what the first of them told of its saves."""

    def __init__(self, setting: str, ranks: int) -> None:
        self.saves: list[Save] = []
        self._text = b""
        self._pipe, write = os.pipe()

        def job(variables: dict[str, str]) -> None:
            os.environ |= variables
            rank_zero_only.rank = int(variables["LOCAL_RANK"])
            train(setting, ranks, write)

        self.pids = [fork(lambda own=own: job(own), Path("output.txt")) for own in rank_variables(ranks)]
        os.close(write)

    def wait_for(self, save: int) -> bool:
        """Until that save has begun, counted from 0; False if the processes ended before that."""
        while len(self.saves) <= save and self._read():
            pass
        return len(self.saves) > save

    def kill(self, first: int, pause: float) -> None:
        """SIGKILL, to one of them a moment before the other; afterwards all is known that was told."""
        for pid in sorted(self.pids, key=lambda pid: pid != self.pids[first % len(self.pids)]):
            os.kill(pid, signal.SIGKILL)
            time.sleep(pause)
        for pid in self.pids:
            os.waitpid(pid, 0)
        while self._read():
            pass
        os.close(self._pipe)

    def _read(self) -> bool:
        told = os.read(self._pipe, 4096)
        *lines, self._text = (self._text + told).split(b"\n")
        for kind, value in (line.decode().split() for line in lines):
            if kind == "begin":
                self.saves.append(Save(int(value)))
            else:
                self.saves[-1].seconds = float(value)
        return bool(told)


def run(short: bool) -> Results:
    """Kill in all settings."""
    results, moments = Results("kill -9 inside saves of two processes"), random.Random(12)
    settings = [PARALLEL, "async_save"] if short else list(SETTINGS)
    with a_folder(None) as desks:
        for setting in settings:
            row = results.row(f"{setting}: nothing is torn or lost")
            while row.tried < (SHORT if short else KILLS):
                desk = Path(tempfile.mkdtemp(dir=desks))
                kill_in_a_row(row, desk, setting, moments, SHORT if short else IN_A_ROW)
                os.chdir(desks)
                shutil.rmtree(desk)
    return results


def kill_in_a_row(row: Any, desk: Path, setting: str, moments: random.Random, kills: int) -> None:
    """Some kills in one folder; those that came when a save was over do not count."""
    os.chdir(desk)
    complete, seconds = 0, [0.02]  # the newest step that was told to be saved; how long saves took
    for number in range(kills):
        victims = Victims(setting, 1 if number % 4 == 3 else 2)
        if not victims.wait_for(moments.randrange(STEPS)):
            last = Path("output.txt").read_text().strip().splitlines()[-1]
            row.add(f"{desk.name}, going on after step {complete}", held=False, why=last)
            victims.kill(0, 0)
            return
        time.sleep(moments.uniform(0, statistics.median(seconds)))
        victims.kill(moments.randrange(2), moments.choice((0.0, 0.005)))
        over = [save for save in victims.saves if save.seconds is not None]
        seconds += [save.seconds for save in over if save.seconds is not None]
        began = victims.saves[0].step
        why = f"the fit saved step {began} first, after step {complete}" if began < complete else ""
        complete = max([complete, *(save.step for save in over)])
        if len(over) < len(victims.saves):
            why = why or what_is_wrong(Path("checkpoints"), complete)
            row.add(f"{desk.name}, in the save of step {victims.saves[-1].step}", held=not why, why=why)


def what_is_wrong(folder: Path, complete: int) -> str:
    """What is not as it should be in a folder in which a save was interrupted; nothing, it is hoped."""
    steps, partial = [0], 0
    for path in folder.iterdir() if folder.exists() else ():  # the very first save makes it
        if path.suffix != ".ckpt":
            partial += 1
            continue
        try:
            manifest, content = verify(path), read_whole(path)
        except Exception as error:  # noqa: BLE001
            return f"{path.name}: {error}"
        step = content["global_step"]
        weights = content["state_dict"].values()
        if manifest is None or manifest.step != step or not all(bool((one == step).all()) for one in weights):
            return f"{path.name} is of two moments"
        steps.append(step)
    if partial > 2:  # what was written, and what was removed
        return f"{partial} partial folders, where one save was interrupted: those before were not swept"
    return "" if max(steps) >= complete else f"step {complete} was saved, and {max(steps)} is the newest that is there"


if __name__ == "__main__":
    sys.exit(main(run))
