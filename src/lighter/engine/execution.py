"""A stage in the folder of its run: check the config, build what the stage needs, record it, call the trainer."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lighter.config import Config
from lighter.config.defaults import FOLDER
from lighter.config.problems import ERROR, Problem, in_order
from lighter.engine.claim import RunOptions
from lighter.engine.notebook import refuse_several_devices
from lighter.engine.project import importable
from lighter.errors import ConfigError, LighterError
from lighter.files.run_folder import RunFolder, is_rank_zero
from lighter.processes.garbage_collection import without_collections
from lighter.runs.handle import Run
from lighter.runs.journal import Journal
from lighter.runs.read import PAUSED
from lighter.runs.record import record, saved_form, write_config

if TYPE_CHECKING:
    import pytorch_lightning as pl
    from pytorch_lightning import LightningModule

    from lighter._lightning.recorded_init import Recording
    from lighter.config.objects import Objects
    from lighter.engine.build import Parts
    from lighter.engine.plan import StagePlan
    from lighter.engine.split import DataSplit
    from lighter.runs.checkpoint_files import Checkpoints
    from lighter.runs.resume.resume_plan import ResumePlan
    from lighter.trainer.stopping.pause import Pause

log = logging.getLogger("lighter")
check_log = logging.getLogger("lighter.check")
IN_SAFE_MODE = "safe mode: only what is on the list is called; permitted beside it: %s"
_PLAIN_TRAINER = (
    "the trainer is Lightning's own; lighter.Trainer adds exact resume, NaN and Inf checks, verified checkpoints and a "
    "faster loop: trainer::_target_=lighter.Trainer"
)


@dataclass(frozen=True)
class Outcome:
    """The outcome of a stage: what the trainer's method returned, the trainer as the run left it, and the folder."""

    result: Any
    trainer: pl.Trainer
    folder: RunFolder

    @property
    def module(self) -> LightningModule:
        """The module as the run left it: after a fit with its last weights. `lighter.load` gives it with the best."""
        return self.trainer.lightning_module

    @property
    def metrics(self) -> dict[str, float]:
        """The last value of everything that was logged and is a number."""
        from lighter._lightning.metric_values import is_array

        return {name: float(value) for name, value in self.trainer.callback_metrics.items() if not is_array(value)}

    @property
    def run(self) -> Run:
        """The run as its folder has it now: its record, curves and config."""
        return Run(self.folder.path)

    def _repr_html_(self) -> str:
        return self.run._repr_html_()

    @property
    def checkpoints(self) -> Checkpoints:
        """The run's checkpoints: `last`, a path; `best`, its path, monitor and score; `newest`, all of them."""
        from lighter.runs.find_checkpoint import checkpoints_of

        return checkpoints_of(self.folder)


@dataclass(frozen=True)
class Job:
    """A stage that is about to run, in a folder that is there.

    Attributes:
        arguments: for the trainer's method, of the command or the caller.
        project: the folder that is importable as `project`.
        resumes_prediction: whether the run is a stopped prediction whose files are continued.
        resume_plan: how a fit resumes; None for one that begins.
        pause: where a fit is to pause; None to run to its end.
    """

    stage: str
    config: Config
    options: RunOptions
    journal: Journal
    arguments: Mapping[str, Any]
    project: Path | None
    resumes_prediction: bool
    resume_plan: ResumePlan | None
    pause: Pause | None = None


@contextmanager
def user_code_importable(config: Config, problems: list[Problem]) -> Iterator[Path | None]:
    """Make the user's code importable for a while; a project that does not exist is one more problem."""
    with ExitStack() as stack:
        try:
            project = stack.enter_context(importable(config, Path.cwd()))
        except ConfigError as error:
            raise ConfigError(in_order([*problems, *error.problems])) from None
        yield project


def checked(config: Config, stage: str, problems: list[Problem], arguments: Mapping[str, Any]) -> list[Problem]:
    """Import the targets of a config, and return its warnings; raise a `ConfigError` with all if one is an error."""
    from lighter.engine.check import check

    context = check(config, stage, arguments=[key for key, value in arguments.items() if value is not None])
    # A module of the user's that fails while it is imported is no mistake of the config: it fails again when it is
    # used, with its own exception.
    every = in_order([*problems, *context.problems])
    if any(problem.severity == ERROR for problem in every):
        raise ConfigError(in_order([*every, *context.failures]))
    return every


def run_job(job: Job) -> Outcome:
    config, stage, folder, resume_plan = job.config, job.stage, job.journal.folder, job.resume_plan
    with without_collections():
        from pytorch_lightning import seed_everything

        from lighter.engine.build import Parts, build_data, build_trainer, check_parts
        from lighter.engine.failures import where_it_failed
        from lighter.engine.report import add_report
        from lighter.engine.stage_arguments import call_arguments, with_arguments
        from lighter.engine.start_checkpoint import start_checkpoint
        from lighter.runs.resume.prediction import prepare_writers

        # The user's modules may draw numbers when they are imported.
        seed_everything(config.seed, workers=True, verbose=False)
        warnings = checked(config, stage, [], job.arguments)
    # Of the config as it was merged, before anything is built: what the user wrote is what runs again.
    saved = {**config.merged.plain(), **({"project": str(job.project)} if job.project else {})}
    objects, plan, split, module, recording = _begin(job)
    if config.safe is not None:
        log.info(IN_SAFE_MODE, config.safe, extra={"shown": True})
        objects.safe = config.safe.within([folder.path])
    for warning in warnings if is_rank_zero() else ():
        check_log.warning("%s", warning)
    build = partial(build_trainer, objects, folder)
    trainer = build() if resume_plan is None else resume_plan.build_trainer(objects, build)
    if recording is not None:
        trainer.strategy.recording = recording  # type: ignore[attr-defined]
    refuse_several_devices(job.config, stage, trainer)
    _suggest_trainer(objects, trainer)
    add_report(objects, trainer, stage, folder)
    data = build_data(objects, plan)
    if split is not None and stage == "predict":
        data = split.predicted(data)
    parts = Parts(module, data, trainer)
    call = call_arguments(objects, stage, trainer, job.arguments)
    check_parts(objects, plan, parts, call)
    # After the parts are known to be there: a checkpoint is large, and takes long to verify.
    path = start_checkpoint(job, trainer, call)
    if path is not None:
        call["ckpt_path"] = path
    if stage == "predict":
        if job.resumes_prediction:
            prepare_writers(trainer, folder)
        saved = with_arguments(saved, call)
    if split is not None and split.indices is not None:
        from lighter.engine.split_record import record_split

        record_split(split, job)
    if resume_plan is not None:
        resume_plan.prepare(module, trainer)
        job.journal.note(resumed=resume_plan.facts)
    with where_it_failed(objects):
        return _run_trainer(job, saved_form(saved, job.journal.secrets), parts, call)


def _begin(job: Job) -> tuple[Objects, StagePlan, DataSplit | None, LightningModule, Recording | None]:
    """Build the module, without memory where `parallel` gives it its weights later and that can be done."""
    from pytorch_lightning import seed_everything

    from lighter.engine.build import build_module, prepare_split
    from lighter.engine.parallel import module_without_memory
    from lighter.engine.plan import plan_of

    for without_memory in (True, False) if job.config.merged.child("parallel") is not None else (False,):
        # Again, so that the weights are the same whatever the imports have drawn.
        seed_everything(job.config.seed, workers=True, verbose=False)
        objects = job.config.objects()
        objects.define(FOLDER, str(job.journal.folder.path))
        plan = plan_of(objects, job.stage)
        split = prepare_split(objects, plan)
        module, recording = module_without_memory(objects, plan) if without_memory else (None, None)
        if module is not None:
            break
    return objects, plan, split, module or build_module(objects, plan), recording


def _suggest_trainer(objects: Objects, trainer: pl.Trainer) -> None:
    import pytorch_lightning

    is_written = isinstance(objects.definition(objects.followed("trainer")), Mapping)
    if is_written and type(trainer) is pytorch_lightning.Trainer and is_rank_zero():
        log.info(_PLAIN_TRAINER)


def _run_trainer(job: Job, saved: dict[str, Any], parts: Parts, call: dict[str, Any]) -> Outcome:
    from lighter.engine import recorder
    from lighter.engine.start_checkpoint import explained
    from lighter.engine.stopping import paused_at, stopped_by_signals
    from lighter.trainer.stopping.pause import Paused

    stage, journal, safe = job.stage, job.journal, job.config.safe
    log.info("%s, in %s", stage, journal.folder.path)
    note = f"{IN_SAFE_MODE % safe}\nRun this file with --safe too." if safe is not None else ""
    # A prediction that resumes has its config in its folder.
    writes = is_rank_zero() and not job.resumes_prediction
    write = partial(write_config, saved, journal.folder, note) if writes else None
    resumes_fit = job.resume_plan is not None and job.resume_plan.folder is not None
    # The config of a fit that resumes is exchanged once its state is loaded.
    if write is not None and not resumes_fit:
        write()
    if not job.resumes_prediction:
        record(saved, parts.module, parts.trainer)
    recorder.attach(parts, journal, saved, write if resumes_fit else None)
    journal.begin(checkpoint=call.get("ckpt_path"))
    result = None
    try:
        with paused_at(job.pause, parts.trainer), stopped_by_signals(parts.trainer, journal):
            result = getattr(parts.trainer, stage)(parts.module, datamodule=parts.data, **call)
    except Paused:
        journal.ends_as = PAUSED
    except Exception as error:
        if is_rank_zero():
            log.error("failed: %s", error, exc_info=not isinstance(error, LighterError))
        # Of an error while the checkpoint is loaded, Lightning's message says neither which file nor what to do.
        explanation = explained(error, call.get("ckpt_path"))
        if explanation is not None:
            raise explanation from error
        raise
    finally:
        journal.note(**recorder.how_far(parts.trainer))
    journal.note(**recorder.results(parts.trainer, journal.facts.get("metrics")))
    log.info(journal.ends_as)
    return Outcome(result, parts.trainer, journal.folder)
