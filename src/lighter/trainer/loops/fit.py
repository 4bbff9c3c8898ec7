"""The loop over epochs, which goes on exactly where a checkpoint was saved."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pytorch_lightning.callbacks import (
    GradientAccumulationScheduler,
    ModelCheckpoint,
    ModelPruning,
    StochasticWeightAveraging,
)
from pytorch_lightning.loops.fit_loop import _FitLoop  # private, as all of Lightning's loops are

from lighter._lightning.access import is_search
from lighter.trainer.resume.dataloaders import FROM_START, LIGHTNINGS, NOT_EXACT, Loaders, ResumeChoice, States
from lighter.trainer.resume.module_modes import Switches
from lighter.trainer.resume.position import EPOCH_END, NOTHING, WITHIN, place_of, settle
from lighter.trainer.resume.random_keys import EPOCH_END as EPOCH_END_NUMBERS
from lighter.trainer.resume.random_keys import EPOCH_START, ORDER, START, VALIDATION
from lighter.trainer.resume.random_streams import Streams, seed_of_fit
from lighter.trainer.resume.samplers import Place
from lighter.trainer.resume.state import KEY, Saved, go_on, go_on_with_metrics, row_to_log, saved_state

log = logging.getLogger("lighter")

_SHOWN = 3
_ADVICE = (
    "Keep it as numbers, text, tensors or lists and dicts of these, or save it yourself in on_save_checkpoint and load"
    " it in on_load_checkpoint"
)


class LeanFitLoop(_FitLoop):
    """Lightning's loop over epochs. With `exact_resume`, random numbers and going on are ours.

    Attributes:
        streams: the random numbers of this process; None without `exact_resume`.
        goes_on: where it goes on, until it is there.
    """

    trainer: Any
    streams: Streams | None = None
    goes_on: Saved | None = None

    def __init__(self, trainer: Any, min_epochs: int | None, max_epochs: int | None) -> None:
        super().__init__(trainer, min_epochs=min_epochs, max_epochs=max_epochs)
        self.loaders = Loaders()
        self.switches, self._samplers = Switches(), Switches()
        self._samplers_begun: Any = {}  # the attributes of samplers when they were asked for this epoch's order
        self._samplers_drawn: Any = {}  # and after that, in a fit that goes on, until they are asked again
        self._resumes = False  # whether a checkpoint was loaded, and not only a search's own
        self._is_set_up = False  # whether the hooks before the data is loaded were called, in which callbacks search
        self._is_started = False  # whether `on_train_start` was
        self._searches: list[Any] = []  # callbacks that wait until it is too late for them to search
        self.saves_to: Any = None
        self._epoch_now: int | None = None  # while dataloaders are asked for as if in another

    @property
    def epoch(self) -> int:
        """The number of the epoch that is running, or that runs next."""
        progress: Any = self.epoch_progress.current
        return int(progress.processed)

    def begin_looking(self, *, resumes: bool) -> None:
        """All is set up, and no hook of the fit was called yet: what these change in attributes is kept.

        Args:
            resumes: whether a checkpoint was loaded.
        """
        self._resumes = resumes
        if resumes:
            self._skip_searches()
        self.switches, self._samplers = Switches(), Switches()
        self._samplers_begun, self._samplers_drawn = {}, {}
        self._is_set_up = self._is_started = False
        if self.trainer.exact_resume:
            self.switches.begin(self.trainer)

    def _skip_searches(self) -> None:
        """In a fit that goes on, nobody searches for a learning rate or a batch size: both are the checkpoint's.

        A search trains from the first step and restores a state of its own, in place of that which was loaded.
        """
        callbacks = self.trainer.callbacks
        self._searches = [one for one in callbacks if is_search(one)]
        self.trainer.callbacks = [one for one in callbacks if not is_search(one)]
        for callback in self._searches:
            log.info("resume: %s does not search again; what it found is the checkpoint's", type(callback).__name__)

    def end_setup(self) -> None:
        """The hooks that come before the data is loaded were called."""
        self.trainer.callbacks = [*self._searches, *self.trainer.callbacks]
        has_searched = any(map(is_search, self.trainer.callbacks)) and not self._resumes
        self._searches, self._is_set_up = [], True
        if self.is_resuming and not self._resumes:  # a search has restored what it saved
            self.goes_on = None
            settle(self, NOTHING)
        if self.trainer.exact_resume:
            self.switches.end_setup(self.trainer.optimizers, has_searched=has_searched)
            saved = self._saved_attributes("switches")
            self.switches.load_setup(saved, self.trainer.strategy.root_device)
            self.switches.expect(saved)

    def attributes(self) -> Any:
        """The attributes that hooks have changed; a validation that is not over is run again."""
        validation: Any = self.epoch_loop.val_loop
        if validation.is_run_again:
            return validation.attributes_before
        return self.switches.state(self.trainer, in_evaluation_mode=self.trainer.validating)

    def sampler_attributes(self, *, is_within: bool) -> Any:
        """The attributes that samplers have changed, and those from which the epoch's order is drawn again."""
        changes = self._samplers.changes()
        now = self._samplers_drawn or changes
        return {"now": now, "begun": (self._samplers_begun or changes) if is_within else now}

    def _note_samplers(self) -> None:
        self._samplers_begun, self._samplers_drawn = self._samplers.changes(), {}

    def _saved_attributes(self, key: str) -> Any:
        saved = self.goes_on
        return saved.processes[self.trainer.global_rank].get(key, {}) if saved is not None and self._fits(saved) else {}

    def run(self) -> None:
        """Run the fit."""
        trainer = self.trainer
        if trainer.exact_resume:
            self._begin()
        else:
            self.goes_on, self.streams = None, None
            trainer.resume_choice = ResumeChoice(LIGHTNINGS, "exact_resume is off")
            log.info("resume: %s", trainer.resume_choice)
        super().run()

    def _begin(self) -> None:
        trainer, saved = self.trainer, self.goes_on
        seed = saved.seed if saved is not None else seed_of_fit(trainer.strategy.broadcast)
        self.streams = Streams(seed, trainer.global_rank, trainer.strategy.root_device)
        place = self.loaders.place
        place.seed, place.rank, place.clock = seed, trainer.global_rank, self
        place.before_seeding, place.before_order = self._before_seeding, self._note_samplers
        place.trained = (0, 0)
        if saved is not None:
            if self._fits(saved):
                self.streams.go_on(saved.processes[trainer.global_rank]["numbers"])
            settle(self, saved.place)
            trained = self.epoch_loop.batch_progress.current.ready if saved.place in WITHIN else 0
            place.trained = (self.epoch, trained)
        if self._combined_loader is not None:  # `estimated_stepping_batches` made it, before the fit began
            self._load_combined_loader_states()

    def setup_data(self) -> None:
        """Prepare the dataloaders; those that a checkpoint was saved with are asked for as if in the epoch of then."""
        then, progress = self._made_in(), self.epoch_progress.current
        if then is None:
            self._setup_data()
            return
        if then and self.trainer.reload_dataloaders_every_n_epochs and self.streams is not None:
            self.streams.seed_for(EPOCH_START, then)  # they were made when that epoch began
        self._epoch_now, progress.completed = progress.completed, then
        self._setup_data()
        self._be_back()  # there were none to be made
        self._last_train_dl_reload_epoch = then

    def _setup_data(self) -> None:
        with self.loaders.iterated():
            super().setup_data()

    def _be_back(self) -> None:
        if self._epoch_now is not None:
            self.epoch_progress.current.completed, self._epoch_now = self._epoch_now, None

    def _made_in(self) -> int | None:
        """The epoch in which the dataloaders of a checkpoint were made, until they are made again."""
        saved = self.goes_on
        if saved is None or self._combined_loader is not None or not self._fits(saved):
            return None
        made_in: int | None = saved.processes[self.trainer.global_rank].get("made_in")
        return made_in

    def _load_combined_loader_states(self) -> None:
        """Lightning's place between a new dataloader and its first iteration."""
        self._be_back()
        self.trainer.stopping.begin(self._combined_loader)
        if self.streams is None:
            super()._load_combined_loader_states()
            return
        self.loaders.take(self._combined_loader.flattened if self._combined_loader is not None else [])
        self.loaders.choice = self.trainer.resume_choice = self._choice()
        self.loaders.load(self._states(), self.loaders.place.skip(self.epoch))
        if not self.loaders.skips:
            self.loaders.place.trained = (0, 0)
        self._look_at_loaders()
        if self._is_started:  # dataloaders that are made anew
            log.info("resume: %s", self.trainer.resume_choice)
        self.seed_order()

    def _look_at_loaders(self) -> None:
        loaders = self._combined_loader.flattened if self._combined_loader is not None else []
        self.switches.add_loaders("train", loaders)
        self._samplers.add({f"train_dataloader[{n}].sampler": one for n, one in enumerate(self.loaders.samplers)})
        saved = self._saved_attributes("samplers")
        if saved and not self._is_started:
            self._samplers.load(saved["begun"], self.trainer.strategy.root_device)
            self._samplers_drawn = saved["now"]

    def _states(self) -> States | None:
        saved = self.goes_on
        if saved is None or not self._fits(saved):
            return None
        own = saved.processes[self.trainer.global_rank]
        return States(own["loaders"], own.get("datasets", ()), own.get("is_cut", False))

    @property
    def done(self) -> bool:
        """Whether there is nothing left to do; what a checkpoint left of its epoch is done first."""
        if self.goes_on is not None and self.goes_on.is_within and self.max_batches != 0:
            return False
        return bool(super().done)

    def on_run_start(self) -> None:
        """Begin, or go on."""
        saved = self.goes_on if self.goes_on is not None and self._fits(self.goes_on) else None
        if self.streams is not None:
            self.streams.seed_for(START)
            if self._is_set_up:
                self.switches.begin_start()
        if saved is not None:
            go_on(self.trainer, saved)
        with self._epoch_counted(saved):
            super().on_run_start()
        if saved is not None:
            val_loop: Any = self.epoch_loop.val_loop
            val_loop.reload_when_due()
            go_on_with_metrics(self.trainer, saved)
        if self.streams is not None and self._is_set_up:
            self._go_on_with_attributes(saved)

    def _go_on_with_attributes(self, saved: Saved | None) -> None:
        """After `on_train_start`; then all is known that says how exact the fit is."""
        trainer = self.trainer
        self.switches.end_start()
        problems = [f"{name}, {kind}, is not saved" for name, kind in self.switches.unknown.items()]
        if saved is not None:
            problems += self.switches.load(self._saved_attributes("switches"), trainer.strategy.root_device)
            problems += [f"the type of {name}" for name in trainer._checkpoint_connector.restore_converted()]
        self._is_started = True
        self._be_less_exact(problems)
        log.info("resume: %s", trainer.resume_choice)

    def _be_less_exact(self, problems: Sequence[str]) -> None:
        if problems and self.trainer.resume_choice.name == "exact":
            more = [f"and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
            self.trainer.resume_choice = ResumeChoice(NOT_EXACT, "; ".join([*problems[:_SHOWN], *more]))

    @contextmanager
    def _epoch_counted(self, saved: Saved | None) -> Iterator[None]:
        """For `on_train_start`, an epoch is over of which only the last steps are to be done, as in Lightning."""
        if saved is None or saved.place != EPOCH_END:
            yield
            return
        progress: Any = self.epoch_progress.current
        before = progress.processed, progress.completed
        progress.processed = progress.completed = before[1] + 1
        yield
        progress.processed, progress.completed = before

    def on_advance_start(self) -> None:
        """Begin an epoch, unless it is begun: then its hooks were called, and its samplers know it."""
        if self.streams is not None:
            self.streams.seed_for(EPOCH_START, self.epoch)
            self.switches.note_modes()
        if self.goes_on is None or not self.goes_on.is_within:
            super().on_advance_start()
            return
        self.setup_data()
        for callback in self.trainer.callbacks:
            if isinstance(callback, GradientAccumulationScheduler):  # sets it when an epoch begins
                self.trainer.accumulate_grad_batches = callback.get_accumulate_grad_batches(self.trainer.current_epoch)

    def advance(self) -> None:
        """Run an epoch, or what is left of it."""
        if self.goes_on is None or self.goes_on.place != EPOCH_END:
            super().advance()

    def on_advance_end(self) -> None:
        """End an epoch."""
        ends = self.goes_on is not None and self.goes_on.place == EPOCH_END
        # no batch was left: nobody asked them for an order, or workers did who begin at once
        drawn = self._saved_attributes("samplers").get("now") if ends else self._samplers_drawn
        if drawn:
            self._samplers.load(drawn, self.trainer.strategy.root_device)
            self._samplers_drawn = {}
        self.goes_on = None
        if ends:
            self._finish_epoch()
            return
        if self.streams is not None:
            self.streams.seed_for(EPOCH_END_NUMBERS, self.epoch)
        super().on_advance_end()

    def _finish_epoch(self) -> None:
        """What Lightning does after the hooks of an epoch's end, where a checkpoint was saved in those."""
        connector = self.trainer._logger_connector
        connector.epoch_end_reached()
        self.epoch_progress.increment_processed()
        self.save_the_rest("on_train_epoch_end")
        connector.on_epoch_end()
        if self.epoch_loop._num_ready_batches_reached():
            self.epoch_loop.update_lr_schedulers("epoch", update_plateau_schedulers=True)
        self.epoch_loop._batches_that_stepped -= 1
        connector.update_train_epoch_metrics()
        self.epoch_loop._batches_that_stepped += 1
        self.epoch_progress.increment_completed()

    def save_the_rest(self, hook: str, *args: Any) -> None:
        """Let those checkpoint callbacks save that come after the one that had; that one knows that it has."""
        for callback in self.trainer.checkpoint_callbacks:
            if isinstance(callback, ModelCheckpoint):
                self.trainer.saves.left_over.save_last(self.trainer, callback)
                getattr(callback, hook)(self.trainer, self.trainer.lightning_module, *args)

    def take_up_batches(self) -> Saved | None:
        """Where batches go on within the epoch, with their random numbers; said once."""
        saved, self.goes_on = self.goes_on, None
        if saved is None or saved.place not in WITHIN:
            return None
        if self.streams is not None and self._fits(saved):
            numbers = saved.processes[self.trainer.global_rank]["numbers"]
            self.streams.come_back(numbers, self.epoch_loop.batch_progress.total.ready)
        return saved

    def set_back_datasets(self, saved: Saved) -> None:
        """Set attributes of datasets to what they were, now that batches were loaded again that they had served."""
        if self.streams is not None and self._fits(saved):
            changes = saved.processes[self.trainer.global_rank].get("switches", {})
            self.switches.reload_loaders("train", changes, self.trainer.strategy.root_device)

    def row_to_log(self, saved: Saved) -> Any:
        """The values of the last step that were not with the loggers yet."""
        return row_to_log(self.trainer, saved) if self._fits(saved) else {}

    def seed_order(self) -> None:
        """Begin the random numbers of an epoch's dataloaders: what their workers are seeded with, above all."""
        if self.streams is not None:
            self.streams.seed_for(ORDER, self.epoch)

    def seed_validation(self, *batch: int) -> None:
        """Begin the random numbers of a validation, or of one of its batches."""
        if self.streams is not None:
            self.streams.seed_for(VALIDATION, self.epoch_loop.batch_progress.total.ready, *batch)

    def place_of_validation(self) -> Place:
        """Where the dataloaders of a validation begin: anew, with random numbers of its own."""
        place = Place()
        if self.streams is not None:
            key = self.streams.shared_key(VALIDATION, self.epoch_loop.batch_progress.total.ready)
            place.seed, place.rank = int.from_bytes(key[:7], "little"), self.streams.rank
            place.clock = self
        return place

    def begin_step(self) -> None:
        """A batch is loaded: begin the random numbers of the one that is trained next."""
        if self.streams is not None:
            if self.loaders.have_states:
                fetcher: Any = self._data_fetcher
                self.loaders.hand_over(fetcher.fetched + (not fetcher.done))  # Lightning counts afterwards
            self.streams.begin_step(self.epoch_loop.batch_progress.total.ready)

    def end_fetch(self) -> None:
        """The same where to load a batch may begin an iteration of a dataloader."""
        self.loaders.close()
        self.begin_step()

    def _before_seeding(self) -> None:
        if self.streams is not None:
            self.streams.leave_step(self.epoch_loop.batch_progress.total.ready)

    def on_save_checkpoint(self) -> dict[str, Any]:
        """Lightning's state and ours."""
        state: dict[str, Any] = super().on_save_checkpoint()
        if self.streams is not None:
            batches: Any = self.epoch_loop.batch_progress.current
            is_within = place_of(self.trainer) in WITHIN
            is_cut = not is_within and batches.ready > 0 and not self.epoch_loop._num_ready_batches_reached()
            loaders = self.loaders.state(batches.processed if is_within or is_cut else None, is_cut=is_cut)
            made_in = self._last_train_dl_reload_epoch
            own = {**loaders._asdict(), "sizes": self.loaders.sizes, "made_in": made_in}
            state[KEY] = saved_state(self.trainer, self.streams.seed, own, self.saves_to)
            self._tell_left_out(state[KEY])
        return state

    def _tell_left_out(self, saved: Mapping[str, Any]) -> None:
        """Say once of each attribute that a fit that goes on from here would not have it."""
        left_out = saved["processes"][self.trainer.global_rank]["switches"].get("left_out", {})
        names = self.switches.new_names(left_out)
        if names and self._is_started:
            log.warning("resume: not exact from now on: %s changed, and cannot be saved. %s", "; ".join(names), _ADVICE)
            self._be_less_exact([f"{name} changed, and is not saved" for name in names])

    def on_load_checkpoint(self, state_dict: dict[str, Any]) -> None:
        """Take Lightning's state and ours."""
        super().on_load_checkpoint(state_dict)
        found = state_dict.get(KEY)
        self.goes_on = Saved(**found) if found is not None and self.trainer.exact_resume else None

    def teardown(self) -> None:
        """The fit is over."""
        super().teardown()
        self.loaders.release()
        self.goes_on = None

    def _fits(self, saved: Saved) -> bool:
        return bool(len(saved.processes) == self.trainer.world_size)

    def _choice(self) -> ResumeChoice:
        saved, now = self.goes_on, self.trainer.world_size
        if saved is not None and not self._fits(saved):
            return ResumeChoice(FROM_START, f"{now} processes now, {len(saved.processes)} then")
        if saved is not None and saved.place in WITHIN:
            sizes = saved.processes[self.trainer.global_rank].get("sizes", self.loaders.sizes)
            change = self.loaders.change(sizes)
            if not self.trainer.strategy.reduce_boolean_decision(not change):  # of all processes, or of none
                return ResumeChoice(FROM_START, change or "another process has other batches")
        if saved is None and self.is_resuming and self._resumes:  # and it is no search, which loads its own
            return ResumeChoice(LIGHTNINGS, "the checkpoint does not say where the fit was")
        for callback in self.trainer.callbacks:
            if isinstance(callback, (StochasticWeightAveraging, ModelPruning)):
                return ResumeChoice(LIGHTNINGS, f"{type(callback).__name__} does not save all that it needs")
        return self.loaders.choice
