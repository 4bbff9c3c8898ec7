"""A disk that is full at 20 places of a checkpoint, for fits that stop and fits that go on, at once and beside.

`python -m tests.faults.inject_full_disk`. The disk is a small tmpfs of its own where one can be mounted: by root, or in
a user namespace (`unshare -rm`). Elsewhere the system limits the size of the files that this process writes.

After two epochs there is room for a part of a checkpoint only. Then the earlier ones must be there, whole, and nothing
else; the callback must note no other; and a fit that goes on must save again when there is room.
"""

from __future__ import annotations

import errno
import itertools
import logging
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, ModelCheckpoint

import lighter
from lighter.errors import StorageError
from lighter.files.integrity import verify
from tests.faults.table import Results, main

OFFSETS = 20
SHORT = 3
EPOCHS, FULL, FREE = 6, 2, 4  # the disk is full from one epoch to another
ELEMENTS = 1 << 17  # of half a megabyte
IN_NAMESPACE = "LIGHTER_TESTS_IN_NAMESPACE"


class Falling(pl.LightningModule):
    """A loss that falls: every epoch is the best."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(ELEMENTS))

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        loss = self.weight.square().mean()
        self.log("loss", loss, on_step=False, on_epoch=True)
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=1000.0)


class Tmpfs:
    """A file system of its own, filled by a file."""

    name = "a tmpfs of 8 MB"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def leave(self, size: int) -> None:
        """Have no more than that free; less where a process writes at the same time."""
        try:
            with open(self.folder / "filler", "wb", buffering=0) as file:
                free = os.statvfs(self.folder)
                file.write(b"\0" * (free.f_bavail * free.f_bsize - size))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise

    def free(self) -> None:
        """Have room again."""
        (self.folder / "filler").unlink(missing_ok=True)


class Limit:
    """A limit to the size of each file that this process writes."""

    name = "a limit to files"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def leave(self, size: int) -> None:
        """Have no more than that written."""
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))

    def free(self) -> None:
        """Have files as large as they may be."""
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


@contextmanager
def a_disk() -> Iterator[Tmpfs | Limit]:
    """A disk that can be full; the process is in its folder."""
    place = Path.cwd()
    with tempfile.TemporaryDirectory() as name:
        mounted = _called("mount", "-t", "tmpfs", "-o", "size=8M", "tmpfs", name)
        disk = Tmpfs(Path(name)) if mounted else Limit(Path(name))
        os.chdir(name)
        try:
            yield disk
        finally:
            disk.free()
            os.chdir(place)
            if mounted:
                _called("umount", name)


def _called(*command: str) -> bool:
    return bool(shutil.which(command[0])) and not subprocess.run(command, capture_output=True, check=False).returncode


class Fills(Callback):
    """Fills the disk for some epochs, and looks at what is there before it is free again."""

    def __init__(self, disk: Tmpfs | Limit, left: int) -> None:
        self.disk, self.left = disk, left
        self.seen = ""

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch in (FULL, FREE):
            trainer.saves.settle(trainer)
        if trainer.current_epoch == FULL:
            self.disk.leave(self.left)
        elif trainer.current_epoch == FREE:
            self.seen = what_is_wrong(trainer.checkpoint_callback, FULL - 1)
            self.disk.free()


def attempt(disk: Tmpfs | Limit, left: int, policy: Any, beside: bool) -> str:
    """One fit; what was not as it should be."""
    shutil.rmtree("checkpoints", ignore_errors=True)
    callback = ModelCheckpoint("checkpoints", "{epoch}", monitor="loss", save_last=True, auto_insert_metric_name=False)
    fills = Fills(disk, left)
    trainer = lighter.Trainer(
        max_epochs=EPOCHS,
        accelerator="cpu",
        logger=False,
        enable_model_summary=False,
        callbacks=[fills, callback],
        on_save_error=policy,
        async_save=beside,
    )
    try:
        trainer.fit(Falling(), torch.utils.data.DataLoader(torch.zeros(1)))
    except StorageError as error:
        disk.free()
        if policy == "continue" or f"{FULL}.ckpt cannot be written" not in str(error):
            return str(error)
        return what_is_wrong(callback, FULL - 1)
    if policy == "stop" or not trainer.saves.failed:
        return "the fit did not notice"
    return fills.seen or what_is_wrong(callback, EPOCHS - 1)


def what_is_wrong(callback: Any, epoch: int) -> str:
    """What is not as it should be, where the newest checkpoints are of this epoch; nothing, it is hoped."""
    folder, expected = Path("checkpoints"), {f"{epoch}.ckpt", "last.ckpt"}
    there = {path.name for path in folder.iterdir()}
    if there != expected:
        return f"there are {sorted(there)}, and not {sorted(expected)}"
    noted = {Path(path).name for path in (callback.best_model_path, callback.last_model_path, *callback.best_k_models)}
    if noted != expected:
        return f"noted are {sorted(noted)}"
    for path in folder.iterdir():
        try:
            manifest, content = verify(path), torch.load(path, weights_only=True)
        except Exception as error:  # noqa: BLE001
            return f"{path.name}: {error}"
        if manifest is None or content["epoch"] != epoch:
            return f"{path.name} is of epoch {content['epoch']}"
    return ""


def size_of_checkpoint() -> int:
    """The bytes of one, where there is room."""
    trainer = lighter.Trainer(max_epochs=1, accelerator="cpu", logger=False, enable_model_summary=False)
    trainer.fit(Falling(), torch.utils.data.DataLoader(torch.zeros(1)))
    return Path("checkpoints/last.ckpt").stat().st_size


def run(short: bool) -> Results:
    """Fill the disk at all places, for all four kinds of fits."""
    with a_disk() as disk, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results, size = Results(f"a full disk: {disk.name}"), size_of_checkpoint()
        places = range(0, OFFSETS, OFFSETS // SHORT) if short else range(OFFSETS)
        for policy, beside in itertools.product(("stop", "continue"), (False, True)):
            how = "async_save" if beside else "at once"
            row = results.row(f"on_save_error={policy}, {how}: the earlier checkpoints, and nothing else")
            for place in places:
                why = attempt(disk, size * place // OFFSETS, policy, beside)
                row.add(f"full at {place}/{OFFSETS}", held=not why, why=why)
    return results


def in_a_namespace() -> None:
    """Start anew in a namespace in which this user may mount, if that is needed and possible."""
    with a_disk() as disk:
        mounts = isinstance(disk, Tmpfs)
    if not mounts and IN_NAMESPACE not in os.environ and _called("unshare", "-rm", "true"):
        os.environ[IN_NAMESPACE] = "1"
        os.execvp("unshare", ["unshare", "-rm", sys.executable, "-m", "tests.faults.inject_full_disk", *sys.argv[1:]])


if __name__ == "__main__":
    in_a_namespace()
    for name in ("pytorch_lightning", "lightning_fabric", "lighter.runs"):
        logging.getLogger(name).setLevel(logging.ERROR)
    sys.exit(main(run))
