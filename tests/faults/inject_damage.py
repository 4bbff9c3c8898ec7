"""Bits flipped in a checkpoint, its end cut off, blocks of it lost: `python -m tests.faults.inject_damage`.

Every damaged file has to be refused as damaged, and every sound one has to be read.
"""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path

import torch

import lighter
from lighter.errors import DamagedCheckpointError
from lighter.trainer.checkpointing.io import CheckpointFiles
from tests.faults.table import Results, main
from tests.jobs import Classifier, digits, mlp

FLIPS, CUTS, BLOCKS, SOUND = 1000, 200, 100, 20
EDGE = 4096  # bytes: the pickle is at the beginning of a file, the directory and the manifest at the end


def a_checkpoint(folder: Path) -> bytes:
    """Of a real fit, with the state of its optimizer."""
    module = Classifier(mlp(), torch.nn.CrossEntropyLoss(), torch.optim.Adam)
    quiet = {"logger": False, "enable_model_summary": False, "enable_progress_bar": False}
    trainer = lighter.Trainer(default_root_dir=folder, max_epochs=1, accelerator="cpu", **quiet)
    trainer.fit(module, *[torch.utils.data.DataLoader(digits(start, start + 64), batch_size=32) for start in (0, 64)])
    return (folder / "checkpoints" / "last.ckpt").read_bytes()


def places(moments: random.Random, size: int, number: int) -> list[int]:
    """Bytes of a file: three fifths anywhere, a fifth near its beginning, a fifth near its end."""
    anywhere = [moments.randrange(size) for _ in range(number * 3 // 5)]
    first = [moments.randrange(EDGE) for _ in range(number // 5)]
    return anywhere + first + [moments.randrange(size - EDGE, size) for _ in range(number - len(anywhere + first))]


def run(short: bool) -> Results:
    """Damage a checkpoint in every way, and try to load it."""
    share, moments = 5 if short else 1, random.Random(10)
    results = Results("Damaged checkpoints")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sound = a_checkpoint(folder)
        size = len(sound)
        for place in places(moments, size, FLIPS // share):
            bit, data = moments.randrange(8), bytearray(sound)
            data[place] ^= 1 << bit
            try_to_load(results, "a flipped bit is detected", f"bit {bit} of byte {place}", data, folder)
        for place in places(moments, size, CUTS // share):
            try_to_load(results, "a cut end is detected", f"{place} of {size} bytes", sound[:place], folder)
        for place in places(moments, size - 512, BLOCKS // share):
            data = bytearray(sound)
            data[place : place + 512] = bytes(512)
            if data != sound:
                try_to_load(results, "a block of zeros is detected", f"from byte {place}", data, folder)
        for number in range(SOUND // share):
            try_to_load(results, "a copy is read", str(number), sound, folder, is_damaged=False)
    return results


def try_to_load(
    results: Results, promise: str, case: str, data: bytes | bytearray, folder: Path, *, is_damaged: bool = True
) -> None:
    """One row's try."""
    path = folder / f"{len(promise)}-{results.row(promise).tried}.ckpt"
    path.write_bytes(data)
    why = "it was read" if is_damaged else ""
    try:
        CheckpointFiles().load_checkpoint(path, weights_only=True)
        held = not is_damaged
    except DamagedCheckpointError as error:
        held, why = is_damaged, str(error)
    except Exception as error:  # noqa: BLE001  whatever torch makes of it is not what is promised
        held, why = False, repr(error)
    results.row(promise).add(case, held=held, why=why)
    path.unlink()


if __name__ == "__main__":
    sys.exit(main(run))
