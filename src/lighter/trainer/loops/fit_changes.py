"""The attributes that hooks and samplers change during a fit, saved in checkpoints and restored on resume."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch.utils.data import BatchSampler, RandomSampler, SequentialSampler

from lighter.trainer.resume.module_modes import AttributeChanges

if TYPE_CHECKING:
    from lighter.trainer.loops.fit import LeanFitLoop

log = logging.getLogger("lighter")

ADVICE = (
    "Keep it as numbers, text, tensors or lists and dicts of these, or save it yourself in on_save_checkpoint and load"
    " it in on_load_checkpoint"
)


class FitChanges:
    """Follows the attributes of modules, callbacks, datasets and samplers through a fit."""

    def __init__(self, loop: LeanFitLoop) -> None:
        self._loop = loop
        self.begin(is_exact=False)

    def begin(self, *, is_exact: bool) -> None:
        """Forget an earlier fit, and look at all objects if this fit is to resume exactly."""
        # samplers apart: theirs are saved as of two moments
        self.attribute_changes, self._samplers = AttributeChanges(), AttributeChanges()
        # the attributes of samplers when they were asked for this epoch's order
        self._begun: Mapping[str, Any] = {}
        # of their values, by which they are known to be the same
        self._identities: Sequence[int] | None = None
        # and after that, in a resumed fit, until they are asked again
        self._drawn: Mapping[str, Any] = {}
        # whether the hooks before the data is loaded were called, in which callbacks search; and whether
        # `on_train_start` was
        self.is_set_up = self.is_started = False
        if is_exact:
            self.attribute_changes.begin(self._loop.trainer)

    def saved(self, key: str) -> Mapping[str, Any]:
        """Return what the checkpoint that is resumed has of this process under a key."""
        attributes: Mapping[str, Any] = self._loop.saved_process().get(key, {})
        return attributes

    def end_setup(self, *, has_searched: bool) -> None:
        """Restore what was set before the data is loaded."""
        trainer, saved = self._loop.trainer, self.saved("switches")
        self.attribute_changes.end_setup(trainer.optimizers, has_searched=has_searched)
        self.attribute_changes.load_setup(saved, trainer.strategy.root_device)
        self.attribute_changes.expect(saved)

    def end_start(self, *, resumes: bool) -> list[str]:
        """Restore what had changed, after `on_train_start`. Returns the names that are not as they were, with why."""
        self.attribute_changes.end_start()
        problems = [f"{name}, {kind}, is not saved" for name, kind in self.attribute_changes.unknown.items()]
        if resumes:
            problems += self.attribute_changes.load(self.saved("switches"), self._loop.trainer.strategy.root_device)
        self.is_started = True
        return problems

    def state(self) -> Mapping[str, Any]:
        """Return the attributes that hooks have changed; those before a validation that will be run again."""
        validation = self._loop.epoch_loop.val_loop
        if validation.is_run_again:
            return validation.attributes_before
        trainer = self._loop.trainer
        return self.attribute_changes.state(trainer, in_evaluation_mode=trainer.validating)

    def sampler_state(self, *, is_within: bool) -> dict[str, Any]:
        """Return the attributes that samplers have changed, and those from which the epoch's order is drawn again."""
        changes = self._samplers.changes()
        now = self._drawn or changes
        return {"now": now, "begun": (self._begun or changes) if is_within else now}

    def note_samplers(self) -> None:
        """Remember the attributes of samplers before they draw an epoch's order."""
        identities = _identities(self._loop.loaders.samplers)
        # a walk through the attributes of all samplers takes long where epochs are short
        if identities is None or identities != self._identities:
            self._begun = self._samplers.changes()
        self._identities, self._drawn = identities, {}

    def add_loaders(self) -> None:
        """Follow the training dataloaders, and set their samplers to what they were when the epoch began."""
        loop = self._loop
        loaders = loop.combined_loader.flattened if loop.combined_loader is not None else []
        self.attribute_changes.add_loaders("train", loaders)
        self._samplers.add({f"train_dataloader[{n}].sampler": one for n, one in enumerate(loop.loaders.samplers)})
        saved = self.saved("samplers")
        if saved and not self.is_started:
            self._samplers.load(saved["begun"], loop.trainer.strategy.root_device)
            self._drawn = saved["now"]

    def end_epoch(self, *, is_ended: bool) -> None:
        """Set samplers to what they were after drawing, where nobody has asked them for the epoch's order again.

        `is_ended`: the checkpoint that is resumed was saved at this epoch's end, with no batch left.
        """
        # of a later place, workers may have asked that begin at once
        drawn = self.saved("samplers").get("now") if is_ended else self._drawn
        if drawn:
            self._samplers.load(drawn, self._loop.trainer.strategy.root_device)
            self._drawn = {}

    def restore_datasets(self, changes: Mapping[str, Any]) -> None:
        """Set attributes of datasets to what they were, now that batches were loaded again that they had served."""
        self.attribute_changes.reload_loaders("train", changes, self._loop.trainer.strategy.root_device)

    def warn_of_unsaved(self, left_out: Mapping[str, str]) -> list[str]:
        """Warn once of each attribute that a checkpoint cannot hold. Returns what makes the fit less exact."""
        names = self.attribute_changes.new_names(left_out)
        if not names or not self.is_started:
            return []
        log.warning("resume: not exact from now on: %s changed, and cannot be saved. %s", "; ".join(names), ADVICE)
        return [f"{name} changed, and is not saved" for name in names]


def _identities(samplers: Sequence[Any]) -> Sequence[int] | None:
    """Return the identities of all attributes of torch's samplers; None for other samplers."""
    owners = [owner for one in samplers for owner in (one, getattr(one, "sampler", None)) if owner is not None]
    # others may keep what a comparison of identities cannot see: a list that grows, say
    if not all(type(owner) in (BatchSampler, RandomSampler, SequentialSampler) for owner in owners):
        return None
    return [id(value) for owner in owners for value in vars(owner).values()]
