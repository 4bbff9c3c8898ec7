"""`EvaluationReport`: record the evaluations of a run for its report, in `report/val.json` and `report/test.json`.

begin    begin anew
add      find predictions and targets, count them, keep the best and the worst samples
end      add up what all processes counted, and write it, in the first process
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning import LightningModule
from torch import Tensor

from lighter.callbacks.evaluation.callback import EvaluationCallback
from lighter.callbacks.evaluation.classification import ClassificationTally
from lighter.callbacks.evaluation.extremes import Extremes
from lighter.callbacks.evaluation.fields import Names, find_labeled
from lighter.callbacks.evaluation.files import Part, Recorded, ReportFiles, merged
from lighter.callbacks.evaluation.regression import RegressionTally
from lighter.callbacks.evaluation.samples import SampleIndices, eval_loaders
from lighter.callbacks.evaluation.segmentation import SegmentationTally
from lighter.callbacks.evaluation.settings import CLASSIFICATION, SEGMENTATION, Name, ReportSettings
from lighter.callbacks.evaluation.shown import shows
from lighter.callbacks.evaluation.tally import Tally
from lighter.callbacks.evaluation.values import SampleValues
from lighter.parts.metrics.synchronization import of_all_processes

log = logging.getLogger("lighter.runs")

_SHARE = 20  # times as long as writing took, nothing is written during a fit


class EvaluationReport(EvaluationCallback):
    """Record each evaluation for `lighter report`: by class, by sample, with sheets of the best and worst samples.

    In a config, the section `report` makes it. The files are those of the last evaluation of a mode: `report/val.json`,
    `report/test.json`, and beside them `val-samples.npz` and the sheets; of a second dataloader `val-dataloader1.json`.
    Nothing is written in the sanity check and by `fast_dev_run`. During a fit they are written so often that this takes
    a twentieth of the time at most, and when it ends. A file that cannot be written is a warning.

    Args:
        task: `classification`, `regression` or `segmentation`.
        folder: where `report` is made; by default the trainer's `default_root_dir`.

    The others are those of `ReportSettings`.

    Raises:
        ModuleTypeError: an argument of the wrong type.
        ModuleValueError: an unknown task.
        MisfitError: at the first batch: there are no predictions or targets, or they do not fit the task.
    """

    def __init__(
        self,
        task: str,
        classes: Sequence[str] | int | None = None,
        samples: int = 16,
        pred: Name = None,
        target: Name = None,
        input: Name = None,
        multilabel: bool | None = None,
        logits: bool | None = None,
        folder: str | Path | None = None,
    ) -> None:
        self.settings = ReportSettings(task, classes, samples, pred, target, input, multilabel, logits)
        self.folder = folder
        self._evaluations: dict[int, _Evaluation] = {}
        self._failure = ""  # why the rest of an evaluation is not recorded
        self._files = ReportFiles(self.settings)
        # the last evaluation of a fit, until it is written; where to, and not before when
        self._waiting: list[Recorded] = []
        self._root, self._due = "", 0.0

    def begin(self, trainer: pl.Trainer, mode: str) -> None:
        self._evaluations, self._failure = {}, ""

    def add(
        self, trainer: pl.Trainer, module: LightningModule, mode: str, outputs: Any, batch: Any, loader: int
    ) -> None:
        evaluation = self._evaluations.get(loader)
        if self._failure:
            return
        # a step may leave out a batch, if not the first
        if outputs is None and evaluation is not None:
            evaluation.indices.skip()
            return
        settings = self.settings
        names = Names(settings.pred, settings.target, settings.input)
        try:
            pred, target, input = find_labeled(module, mode, outputs, batch, names)
            if evaluation is None:
                loaders = eval_loaders(trainer, mode)
                source = loaders[loader] if loader < len(loaders) else None
                evaluation = _Evaluation(settings, _tally(settings, pred, target), SampleIndices(source))
                self._evaluations[loader] = evaluation
            evaluation.add(pred, target, input)
        except Exception as error:
            # what does not fit at all shows at the first batch; later, the run is worth more than its report
            if evaluation is None or not evaluation.batches:
                raise
            self._failure = f"{type(error).__name__}: {error}"

    def on_train_end(self, trainer: pl.Trainer, pl_module: LightningModule) -> None:
        self._write_waiting()

    def teardown(self, trainer: pl.Trainer, pl_module: LightningModule, stage: str) -> None:
        self._write_waiting()

    def on_exception(self, trainer: pl.Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._write_waiting()

    def end(self, trainer: pl.Trainer, mode: str) -> None:
        evaluations, self._evaluations = self._evaluations, {}
        if trainer.sanity_checking or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        parts: dict[int, Part] = {}
        try:
            parts = {loader: evaluation.part() for loader, evaluation in evaluations.items()}
        except Exception as error:  # noqa: BLE001  the other processes wait for this one
            self._failure = f"{type(error).__name__}: {error}"
        of_processes = of_all_processes((parts, self._failure))
        if not trainer.is_global_zero:
            return
        failure = next((failure for _, failure in of_processes if failure), "")
        if failure:
            log.warning("the report of %s is not written: %s", mode, failure)
            return
        position = {"epoch": trainer.current_epoch, "step": trainer.global_step}
        self._waiting = [
            Recorded(mode, loader, position, merged([theirs[loader] for theirs, _ in of_processes if loader in theirs]))
            for loader in sorted({loader for theirs, _ in of_processes for loader in theirs})
        ]
        self._root = str(self.folder or trainer.default_root_dir)
        # of short epochs, pictures would take a good part: the report of the last is written when the fit ends
        if trainer.state.fn != "fit" or time.monotonic() >= self._due:
            self._write_waiting()

    def _write_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        begun = time.monotonic()
        for recorded in waiting:
            try:
                self._files.write(self._root, recorded)
            except Exception as error:  # noqa: BLE001  a full disk, say: a training is worth more
                log.warning("the report of %s could not be written: %s", recorded.mode, error)
        self._due = time.monotonic() + _SHARE * (time.monotonic() - begun)


class _Evaluation:
    """The evaluation of a dataloader that is running."""

    def __init__(self, settings: ReportSettings, tally: Tally, indices: SampleIndices) -> None:
        self.tally, self.indices, self.batches = tally, indices, 0
        self.values = SampleValues()
        self.best, self.worst = Extremes(settings.samples, best=True), Extremes(settings.samples, best=False)

    def add(self, pred: Tensor, target: Tensor, input: object) -> None:
        size = len(pred)
        indices, _, is_first = self.indices.next(size)
        if is_first is not None:  # the last samples of a distributed sampler, which another process has too
            count = int(is_first.sum())
            indices, pred, target = indices[:count], pred[:count], target[:count]
        if not len(indices):
            return
        scored = self.tally.update(pred, target)
        self.values.add(indices, scored.values)
        show = shows(input, size, scored.maps)
        self.best.add(indices, scored, show)
        self.worst.add(indices, scored, show)
        self.batches += 1

    def part(self) -> Part:
        tally, values = self.tally.to_cpu(), self.values.arrays()
        best, worst = self.best.choose(), self.worst.choose()
        return Part(tally, values, best, worst, self.best.count, self.indices.is_known)


def _tally(settings: ReportSettings, pred: Tensor, target: Tensor) -> Tally:
    if settings.task == CLASSIFICATION:
        return ClassificationTally(settings, pred, target)
    return SegmentationTally(settings, pred, target) if settings.task == SEGMENTATION else RegressionTally(pred, target)
