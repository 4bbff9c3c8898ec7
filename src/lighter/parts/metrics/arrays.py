"""Values of metrics that are no single numbers, in files: `arrays/val-epoch3-step40.npz`, one for each evaluation.

Loggers that show pictures get those of matrices.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytorch_lightning as pl
from lightning_utilities.core.rank_zero import rank_zero_warn
from torch import Tensor

from lighter._lightning.steps import logging_step
from lighter.files.atomic import write_whole
from lighter.files.run_folder import RunFolder
from lighter.files.storage import on_disk
from lighter.parts.metrics.log_names import at_epoch, metric_name
from lighter.parts.metrics.values import sort_values

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def keep_arrays(trainer: pl.Trainer, mode: str, arrays: Mapping[str, Tensor]) -> None:
    """Save the arrays of an evaluation in the trainer's folder, and show matrices, in the first process."""
    is_trial = trainer.sanity_checking or bool(trainer.fast_dev_run)  # type: ignore[attr-defined]
    if not arrays or is_trial or not trainer.is_global_zero:
        return
    converted = {name: to_numpy(tensor) for name, tensor in arrays.items()}
    _save(trainer, mode, converted)
    for name, array in converted.items():
        if array.ndim == 2:
            _show(trainer, at_epoch(mode, metric_name(name)), array)


def keep_logged_arrays(trainer: pl.Trainer, values: Mapping[str, object]) -> dict[str, Tensor]:
    """Keep the arrays in what `self.log` was given metrics of. Returns the numbers in it, which can be logged."""
    stage = trainer.state.stage
    mode = {"validate": "val", "sanity_check": "val", "test": "test"}.get(stage.value if stage else "", "train")
    numbers: dict[str, Tensor] = {}
    arrays: dict[str, Tensor] = {}
    for name, value in values.items():
        entries = {f"{name}_{key}": each for key, each in value.items()} if isinstance(value, Mapping) else value
        found = sort_values(name, entries)
        numbers |= found.numbers
        arrays |= found.arrays
    keep_arrays(trainer, mode, arrays)
    return numbers


def to_numpy(tensor: Tensor) -> np.ndarray:
    """Convert a tensor; those of half precision become float32."""
    # NumPy has no bfloat16
    is_half = tensor.is_floating_point() and tensor.itemsize < 4
    array: np.ndarray = (tensor.float() if is_half else tensor).detach().cpu().numpy()
    return array


def _save(trainer: pl.Trainer, mode: str, arrays: Mapping[str, np.ndarray]) -> None:
    root = on_disk(trainer.default_root_dir)
    if root is None:
        rank_zero_warn(f"arrays ({', '.join(arrays)}) are kept on disks only, not in {trainer.default_root_dir}")
        return
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)  # type: ignore[arg-type]
    folder = RunFolder(root).arrays
    try:
        folder.mkdir(exist_ok=True, parents=True)
        path = _free(trainer, folder / f"{mode}-epoch{trainer.current_epoch}-step{trainer.global_step}.npz")
        write_whole(path, content.getvalue())
    except OSError as error:  # a training is worth more
        rank_zero_warn(f"arrays of {mode} could not be saved: {error}")


def _free(trainer: pl.Trainer, path: Path) -> Path:
    """Return a name that no other run uses."""
    # a resumed fit repeats the evaluations after its checkpoint, under their names
    if trainer.state.fn == "fit" and trainer.ckpt_path is not None:
        return path
    version, stem = 0, path.stem
    while path.exists():
        version += 1
        path = path.with_name(f"{stem}-v{version}.npz")
    return path


def _show(trainer: pl.Trainer, name: str, matrix: np.ndarray) -> None:
    """Give a picture of a matrix to the loggers that take pictures, if matplotlib is installed."""
    loggers: list[Any] = trainer.loggers
    if find_spec("matplotlib") is None:
        return
    for logger in loggers:
        add_figure = getattr(logger.experiment, "add_figure", None)  # TensorBoard
        log_image = getattr(logger, "log_image", None)  # W&B
        if add_figure is not None:
            add_figure(name, _heatmap(matrix), global_step=logging_step(trainer))
        elif log_image is not None:
            log_image(name, [_heatmap(matrix)])


def _heatmap(matrix: np.ndarray) -> Figure:
    """Draw a matrix with readable values; rows from the top, as the true classes are."""
    # optional
    from matplotlib.figure import Figure

    figure = Figure(layout="tight")
    axes = figure.subplots()
    image = axes.imshow(matrix, cmap="Blues")
    figure.colorbar(image)
    if max(matrix.shape) <= 20:
        middle = (float(matrix.max()) + float(matrix.min())) / 2
        for (row, column), value in np.ndenumerate(matrix):
            color = "white" if value > middle else "black"
            axes.text(column, row, f"{value:.3g}", ha="center", va="center", color=color, fontsize="x-small")
    return figure
