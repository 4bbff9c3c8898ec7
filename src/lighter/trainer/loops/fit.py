"""The loop over epochs, which resumes exactly where a checkpoint was saved.

Longer than others, as it has a method for each moment at which Lightning's loop may stop and resume. The numbers, the
attributes and the choice of how to resume are in `fit_numbers.py`, `fit_changes.py` and `resume_choice.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pytorch_lightning import Callback
from pytorch_lightning.callbacks import GradientAccumulationScheduler, ModelCheckpoint

from lighter._lightning.callbacks import is_search
from lighter._lightning.logged_values import logger_connector
from lighter._lightning.loops import FitLoop
from lighter._lightning.trainer import checkpoint_connector
from lighter.parallel.ranks import data_copies
from lighter.trainer.batch_indexing import BatchIndexing
from lighter.trainer.loops.fit_changes import FitChanges
from lighter.trainer.loops.fit_numbers import FitNumbers
from lighter.trainer.loops.resume_choice import choose_resume, less_exact
from lighter.trainer.resume.dataloaders import LIGHTNINGS, SAMPLES, Loaders, ResumeChoice, States
from lighter.trainer.resume.dealing import continued, deal, dealt_until, resharded
from lighter.trainer.resume.module_modes import AttributeChanges
from lighter.trainer.resume.position import EPOCH_END, NOTHING, WITHIN, count_batches, place_of, settle
from lighter.trainer.resume.position import EPOCH_START as PLACE_EPOCH_START
from lighter.trainer.resume.random_keys import EPOCH_END as EPOCH_END_NUMBERS
from lighter.trainer.resume.random_keys import EPOCH_START, ORDER, START
from lighter.trainer.resume.random_streams import Streams
from lighter.trainer.resume.samplers import Iteration
from lighter.trainer.resume.state import KEY, ResumeState, restore, restore_metrics, saved_state

if TYPE_CHECKING:
    from lighter.trainer import Trainer
    from lighter.trainer.loops.training import LeanTrainingEpochLoop

log = logging.getLogger("lighter")


class LeanFitLoop(FitLoop):
    """Lightning's loop over epochs. With `exact_resume`, random numbers and resuming are ours."""

    trainer: Trainer
    epoch_loop: LeanTrainingEpochLoop
    # where the fit resumes, until it is there
    resume_state: ResumeState | None = None
    # the file that a checkpoint is saved to
    saves_to: Any = None

    def __init__(self, trainer: Trainer, min_epochs: int | None, max_epochs: int | None) -> None:
        super().__init__(trainer, min_epochs=min_epochs, max_epochs=max_epochs)
        self.loaders, self.numbers, self.changes = Loaders(), FitNumbers(self), FitChanges(self)
        self.batches = BatchIndexing()
        # whether a checkpoint was loaded, and not only a search's own
        self._was_loaded = False
        # callbacks that wait until it is too late for them to search
        self._searches: list[Callback] = []
        # while dataloaders are asked for as if in another
        self._epoch_now: int | None = None

    @property
    def epoch(self) -> int:
        """The number of the epoch that is running, or that runs next."""
        progress: Any = self.epoch_progress.current
        return int(progress.processed)

    @property
    def streams(self) -> Streams | None:
        """The random streams of this process; None without `exact_resume`."""
        return self.numbers.streams

    @property
    def attribute_changes(self) -> AttributeChanges:
        return self.changes.attribute_changes

    def fits(self, saved: ResumeState) -> bool:
        """Return whether a checkpoint has the state of as many processes as there are, and of as many data ranks."""
        return len(saved.processes) == self.trainer.world_size and saved.copies == data_copies()

    def saved_process(self) -> Mapping[str, Any]:
        """Return the state of this process in the checkpoint that is resumed; empty where there is none."""
        saved = self.resume_state
        return saved.processes[self.trainer.global_rank] if saved is not None and self.fits(saved) else {}

    # Setting up

    def begin_looking(self, *, resumes: bool) -> None:
        """Follow attributes from here: all is set up, and no hook of the fit was called yet."""
        self._was_loaded = resumes
        if resumes:
            self._skip_searches()
        self.changes.begin(is_exact=self.trainer.exact_resume)

    def _skip_searches(self) -> None:
        """Take out callbacks that search for a learning rate or a batch size: both are the checkpoint's."""
        # a search trains from the first step, and restores a state of its own in place of that which was loaded
        callbacks = self.trainer.callbacks
        self._searches = [callback for callback in callbacks if is_search(callback)]
        self.trainer.callbacks = [callback for callback in callbacks if not is_search(callback)]
        for callback in self._searches:
            log.info("resume: %s does not search again; what it found is the checkpoint's", type(callback).__name__)

    def end_setup(self) -> None:
        """Restore what was set before the data is loaded."""
        # searches run in hooks before the data is loaded, and those were called
        self.trainer.callbacks = [*self._searches, *self.trainer.callbacks]
        has_searched = any(map(is_search, self.trainer.callbacks)) and not self._was_loaded
        self._searches, self.changes.is_set_up = [], True
        if self.is_resuming and not self._was_loaded:  # a search has restored what it saved
            self.resume_state = None
            settle(self, NOTHING)
        if self.trainer.exact_resume:
            self.changes.end_setup(has_searched=has_searched)

    def run(self) -> None:
        trainer = self.trainer
        if trainer.exact_resume:
            self._begin()
        else:
            self.resume_state, self.numbers.streams = None, None
            trainer.resume_choice = ResumeChoice(LIGHTNINGS, "exact_resume is off")
            log.info("resume: %s", trainer.resume_choice)
        super().run()

    def _begin(self) -> None:
        saved, place = self.resume_state, self.loaders.place
        streams = self.numbers.begin(saved)
        place.before_order, place.deal = self.changes.note_samplers, None
        if saved is not None:
            if self.fits(saved):
                # with other processes than then, none of the streams saved is that of this one
                streams.resume(self.saved_process()["numbers"])
            settle(self, saved.place)
            trained = self.epoch_loop.batch_progress.current.ready if saved.place in WITHIN else 0
            place.trained = (self.epoch, trained)
        if self.combined_loader is not None:  # `estimated_stepping_batches` made it, before the fit began
            with self.loaders.iterated(), self.batches.begun(None):
                self.begin_loaders()
                iter(self.data_fetcher)  # Lightning has begun one that knows neither the order nor the position

    def setup_data(self) -> None:
        """Prepare the dataloaders; those that a checkpoint was saved with are asked for as if in the epoch of then."""
        then, progress = self._made_in(), self.epoch_progress.current
        if then is None:
            self._setup_data()
            return
        # a `train_dataloader` of the user's may read `current_epoch`, or draw
        if then and self.trainer.reload_dataloaders_every_n_epochs:
            self.numbers.seed_for(EPOCH_START, then)  # they were made when that epoch began
        self._epoch_now, progress.completed = progress.completed, then
        self._setup_data()
        self._restore_epoch()  # where no dataloader was made
        self.loaded_in = then

    def _setup_data(self) -> None:
        with self.loaders.iterated(), self.batches.begun(None):
            super().setup_data()

    def _restore_epoch(self) -> None:
        if self._epoch_now is not None:
            self.epoch_progress.current.completed, self._epoch_now = self._epoch_now, None

    def _made_in(self) -> int | None:
        """Return the epoch in which the dataloaders of a checkpoint were made, until they are made again."""
        return self.saved_process().get("made_in") if self.combined_loader is None else None

    def begin_loaders(self) -> None:
        """Prepare new dataloaders for their first iteration."""
        self._restore_epoch()
        self.trainer.stopping.begin(self.combined_loader)
        if self.streams is None:
            super().begin_loaders()
        else:
            self._take_loaders()
        self.batches.open(self.combined_loader)

    def _take_loaders(self) -> None:
        """Have new dataloaders draw keyed numbers and continue where they were."""
        loaders = self.loaders
        loaders.take(self.combined_loader.flattened if self.combined_loader is not None else [])
        # after `take`, as the choice depends on the loaders
        loaders.choice = self.trainer.resume_choice = choose_resume(self, was_loaded=self._was_loaded)
        if loaders.choice.name == SAMPLES:
            self._deal_left()
        elif loaders.skips and self.saved_process().get("dealt"):
            trained = self.epoch_loop.batch_progress.current.ready
            loaders.place.deal = continued(dealt_until(self.saved_process(), trained), *self._dealing())
        loaders.load(self._states(), loaders.place.skip(self.epoch))
        if not loaders.skips:
            # those that resume by their own state, or load the epoch again, leave none out
            loaders.place.trained = (0, 0)
        self.changes.add_loaders()
        if self.changes.is_started:  # dataloaders that are made anew
            log.info("resume: %s", self.trainer.resume_choice)
        # last: a user's code above may draw, and workers are seeded from here
        self.numbers.seed_order()

    def _deal_left(self) -> None:
        """Give this process its part of an epoch that other processes began, and of what they had accumulated."""
        saved, place, progress = self.resume_state, self.loaders.place, self.epoch_loop.batch_progress
        if saved is None:
            return
        left = 1
        if saved.place in WITHIN:
            place.deal = deal(dealt_until(saved.processes[0], progress.current.ready), *self._dealing())
            left, counted = len(place.deal.batches), place.deal.dealt["counted"]
            count_batches(progress, counted)
            place.trained = (self.epoch, counted)
            progress.is_last_batch = not left
        count, copies = self.trainer.world_size, data_copies()
        are_over = not left or saved.place == EPOCH_END
        states = resharded(saved.processes[:: saved.copies], count // copies, are_over=are_over)
        processes = [state for state in states for _ in range(copies)]
        self.resume_state = replace(saved, processes=processes, copies=copies)
        if self.streams is not None:
            self.streams.resume(self.saved_process()["numbers"])

    def _dealing(self) -> tuple[Any, int, bytes]:
        """Return the dataloader, the epoch and the key of its order."""
        loader: Any = self.combined_loader.flattened[0] if self.combined_loader is not None else None
        return loader, self.epoch, Iteration(self.loaders.place.seed, self.epoch, 0, 0).key(ORDER)

    def _states(self) -> States | None:
        process = self.saved_process()
        if not process:
            return None
        return States(process["loaders"], process.get("datasets", ()), process.get("is_cut", False))

    # Epochs

    @property
    def done(self) -> bool:
        """True when nothing is left to do; the rest of a checkpoint's epoch is done first."""
        # the last batch before the checkpoint may have reached a limit of steps, and what follows a batch is left
        if self.resume_state is not None and self.resume_state.is_within and self.max_batches != 0:
            return False
        return bool(super().done)

    def on_run_start(self) -> None:
        """Call the first hooks, and restore the state of a checkpoint around them."""
        saved = self.resume_state if self.resume_state is not None and self.fits(self.resume_state) else None
        self.numbers.seed_for(START)
        if self.streams is not None and self.changes.is_set_up:
            self.attribute_changes.begin_start()
        if saved is not None:
            # before the hooks, which read it, and the metrics after them, as hooks may reset those
            restore(self.trainer, saved)
        with self._epoch_counted(saved):
            super().on_run_start()
        if saved is not None:
            self.epoch_loop.val_loop.reload_when_due()
            restore_metrics(self.trainer, saved)
        if self.streams is not None and self.changes.is_set_up:
            # after the hooks, which may set the same attributes again, to their initial values
            problems = self.changes.end_start(resumes=saved is not None)
            if saved is not None:
                converted = checkpoint_connector(self.trainer).restore_converted()
                problems += [f"the type of {name}" for name in converted]
            self._report_problems(problems)
            log.info("resume: %s", self.trainer.resume_choice)

    def _report_problems(self, problems: list[str]) -> None:
        if self.trainer.resume_choice is not None:
            self.trainer.resume_choice = less_exact(self.trainer.resume_choice, problems)

    @contextmanager
    def _epoch_counted(self, saved: ResumeState | None) -> Iterator[None]:
        """Count an epoch of which only the last steps are left as over during `on_train_start`, as Lightning does."""
        if saved is None or saved.place != EPOCH_END:
            yield
            return
        progress: Any = self.epoch_progress.current
        before = progress.processed, progress.completed
        progress.processed = progress.completed = before[1] + 1
        yield
        progress.processed, progress.completed = before

    def on_advance_start(self) -> None:
        """Begin an epoch, unless the checkpoint is of one that had begun: its hooks were called then."""
        pause, saved = self.trainer.stopping.pause, self.resume_state
        if pause is not None and (saved is None or saved.place in (NOTHING, PLACE_EPOCH_START)):
            pause.between_epochs(self.trainer)
        self.numbers.seed_for(EPOCH_START, self.epoch)
        if self.streams is not None:
            self.attribute_changes.note_modes()
        if self.resume_state is None or not self.resume_state.is_within:
            super().on_advance_start()
            return
        self.setup_data()
        # Lightning's `on_advance_start` is left out here, in which this callback sets its number
        for callback in self.trainer.callbacks:
            if isinstance(callback, GradientAccumulationScheduler):
                self.trainer.accumulate_grad_batches = callback.get_accumulate_grad_batches(self.trainer.current_epoch)

    def advance(self) -> None:
        """Run an epoch, or what is left of it."""
        if self.resume_state is None or self.resume_state.place != EPOCH_END:
            super().advance()

    def on_advance_end(self) -> None:
        is_ended = self.resume_state is not None and self.resume_state.place == EPOCH_END
        self.changes.end_epoch(is_ended=is_ended)
        self.resume_state = None
        if is_ended:
            # its hooks were called before the checkpoint was saved in one of them
            self._finish_epoch()
            return
        self.numbers.seed_for(EPOCH_END_NUMBERS, self.epoch)
        super().on_advance_end()

    def _finish_epoch(self) -> None:
        """Do what Lightning does after the hooks of an epoch's end, where a checkpoint was saved in those."""
        # in the order of Lightning's `on_advance_end`
        connector = logger_connector(self.trainer)
        connector.epoch_end_reached()
        self.epoch_progress.increment_processed()
        self.save_the_rest("on_train_epoch_end")
        connector.on_epoch_end()
        if self.epoch_loop.is_last_batch():
            self.epoch_loop.update_lr_schedulers("epoch", update_plateau_schedulers=True)
        self.epoch_loop.log_epoch()
        self.epoch_progress.increment_completed()

    def save_the_rest(self, hook: str, *args: Any) -> None:
        """Let those checkpoint callbacks save that come after the one that had."""
        for callback in self.trainer.checkpoint_callbacks:
            if isinstance(callback, ModelCheckpoint):
                self.trainer.saves.left_over.save_last(self.trainer, callback)
                # the one that has saved knows it, and does nothing
                getattr(callback, hook)(self.trainer, self.trainer.lightning_module, *args)

    def take_up_batches(self) -> tuple[str, Mapping[str, Any]] | None:
        """Return, once, where within the epoch batches resume, and this process's state; restore its numbers."""
        saved, process = self.resume_state, self.saved_process()
        self.resume_state = None
        if saved is None or saved.place not in WITHIN:
            return None
        if self.streams is not None and process:
            self.streams.resume_at(process["numbers"], self.epoch_loop.batch_progress.total.ready)
        return saved.place, process

    def begin_fetch(self) -> None:
        """Prepare for a fetch that may begin an iteration of a dataloader."""
        self.loaders.open()
        self.batches.open(self.combined_loader)

    def end_fetch(self) -> None:
        """Begin the numbers of a step after a fetch that may have begun an iteration of a dataloader."""
        self.batches.close()
        self.loaders.close()
        self.numbers.begin_step()

    # Checkpoints

    def attributes(self) -> Mapping[str, Any]:
        """Return the attributes that hooks have changed, for a checkpoint."""
        return self.changes.state()

    def sampler_attributes(self, *, is_within: bool) -> Mapping[str, Any]:
        """Return the attributes that samplers have changed, for a checkpoint."""
        return self.changes.sampler_state(is_within=is_within)

    def on_save_checkpoint(self) -> dict[str, Any]:
        state: dict[str, Any] = super().on_save_checkpoint()
        if self.streams is not None:
            batches: Any = self.epoch_loop.batch_progress.current
            is_within = place_of(self.trainer) in WITHIN
            # an epoch that a limit of steps ended; Lightning's next one continues its batches
            is_cut = not is_within and batches.ready > 0 and not self.epoch_loop.is_last_batch()
            loaders = self.loaders.state(batches.processed if is_within or is_cut else None, is_cut=is_cut)
            process = {**loaders._asdict(), "sizes": self.loaders.sizes, "made_in": self.loaded_in}
            rest = self.loaders.place.deal if is_within else None
            process |= {
                "orders": self.loaders.orders,
                "dealt": rest.dealt if rest is not None and rest.epoch == self.epoch else None,
            }
            saved = state[KEY] = saved_state(self.trainer, self.streams.seed, process, self.saves_to)
            switches = saved["processes"][self.trainer.global_rank]["switches"]
            self._report_problems(self.changes.warn_of_unsaved(switches.get("left_out", {})))
        return state

    def on_load_checkpoint(self, state_dict: dict[str, Any]) -> None:
        super().on_load_checkpoint(state_dict)
        ours = state_dict.get(KEY)
        self.resume_state = ResumeState(**ours) if ours is not None and self.trainer.exact_resume else None

    def teardown(self) -> None:
        super().teardown()
        self.batches.close()
        self.loaders.release()
        self.resume_state = None
