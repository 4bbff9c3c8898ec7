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

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def keep_arrays(trainer: pl.Trainer, mode: str, arrays: Mapping[str, Tensor]) -> None:
    """Save the arrays of an evaluation in the trainer's folder, and show matrices. Only the first process does."""
    is_trial = trainer.sanity_checking or bool(trainer.fast_dev_run)  # type: ignore[attr-defined]
    if not arrays or is_trial or not trainer.is_global_zero:
        return
    plain = {name: _plain(tensor) for name, tensor in arrays.items()}
    _save(trainer, mode, plain)
    for name, array in plain.items():
        if array.ndim == 2:
            _show(trainer, at_epoch(mode, metric_name(name)), array)


def _plain(tensor: Tensor) -> np.ndarray:
    tensor = tensor.detach().cpu()
    if tensor.is_floating_point() and tensor.itemsize < 4:  # NumPy has no bfloat16
        tensor = tensor.float()
    array: np.ndarray = tensor.numpy()
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
    """A name that no other run has taken. A fit that goes on evaluates again what it evaluated after its checkpoint."""
    if trainer.state.fn == "fit" and trainer.ckpt_path is not None:
        return path
    version, stem = 0, path.stem
    while path.exists():
        version += 1
        path = path.with_name(f"{stem}-v{version}.npz")
    return path


def _show(trainer: pl.Trainer, name: str, matrix: np.ndarray) -> None:
    """Give a picture of a matrix to the loggers that take pictures, if matplotlib is there."""
    loggers: list[Any] = trainer.loggers
    for logger in loggers:
        add_figure = getattr(logger.experiment, "add_figure", None)  # TensorBoard
        log_image = getattr(logger, "log_image", None)  # W&B
        if (add_figure is None and log_image is None) or find_spec("matplotlib") is None:
            continue
        if add_figure is not None:
            add_figure(name, _heatmap(matrix), global_step=logging_step(trainer))
        elif log_image is not None:
            log_image(name, [_heatmap(matrix)])


def _heatmap(matrix: np.ndarray) -> Figure:
    """Draw a matrix, with its values where these can be read: rows from the top, as the true classes are."""
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
