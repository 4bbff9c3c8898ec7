"""Choose how exactly a fit resumes from a checkpoint within an epoch: a value and its reason."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytorch_lightning.callbacks import ModelPruning, StochasticWeightAveraging

from lighter.parallel.ranks import data_copies
from lighter.trainer.resume.dataloaders import FROM_START, LIGHTNINGS, NOT_EXACT, SAMPLES, ResumeChoice
from lighter.trainer.resume.position import WITHIN

if TYPE_CHECKING:
    from lighter.trainer.loops.fit import LeanFitLoop
    from lighter.trainer.resume.state import ResumeState

SHOWN = 3


def choose_resume(loop: LeanFitLoop, *, was_loaded: bool) -> ResumeChoice:
    """Return how a fit resumes, once it has its dataloaders. All processes take part."""
    saved, trainer, loaders = loop.resume_state, loop.trainer, loop.loaders
    if saved is not None and not loop.fits(saved):
        return _on_other_processes(loop, saved)
    if saved is not None and saved.place in WITHIN:
        process, count = loop.saved_process(), trainer.world_size
        change = loaders.change(process.get("sizes", loaders.sizes))
        if not change and process.get("dealt") and not loaders.can_deal(process["orders"], count, count):
            change = "the epoch was dealt to other processes before, and the dataloader is another now"
        # all processes resume within the epoch or none: the batches of others would not be those that come next
        if not trainer.strategy.reduce_boolean_decision(not change):
            return ResumeChoice(FROM_START, change or "another process has other batches")
    # saved by Lightning's trainer, or without `exact_resume`; a search's own checkpoint is of this fit
    if saved is None and loop.is_resuming and was_loaded:
        return ResumeChoice(LIGHTNINGS, "the checkpoint does not say where the fit was")
    for callback in trainer.callbacks:
        if isinstance(callback, (StochasticWeightAveraging, ModelPruning)):
            return ResumeChoice(LIGHTNINGS, f"{type(callback).__name__} does not save all that it needs")
    return loaders.choice


def _on_other_processes(loop: LeanFitLoop, saved: ResumeState) -> ResumeChoice:
    then, now = len(saved.processes), loop.trainer.world_size
    can_deal = loop.loaders.can_deal(saved.processes[0].get("orders", ()), then, now)
    is_whole = loop.trainer.limit_train_batches == 1.0
    what = "processes"
    if now == then:  # with another number of tensor ranks
        what, now, then = "data ranks", now // data_copies(), then // saved.copies
    return ResumeChoice(SAMPLES if can_deal and is_whole else FROM_START, f"{now} {what} now, {then} then")


def less_exact(choice: ResumeChoice, problems: Sequence[str]) -> ResumeChoice:
    """Return a choice of `exact` as `not exact` where there are problems; the first of them are its reason."""
    if not problems or choice.name != "exact":
        return choice
    more = [f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
    return ResumeChoice(NOT_EXACT, "; ".join([*problems[:SHOWN], *more]))
