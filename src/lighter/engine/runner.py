"""The order of a run: read the config, claim a folder, keep a record, run the stage in it (`execution.py`)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lighter.config import Config, examine
from lighter.config.check.sections import STAGES
from lighter.config.load import Input, Inputs, listed
from lighter.config.problems import Problem, in_order, nearest
from lighter.config.safe import SafeMode, guard
from lighter.engine.claim import RunOptions, claim_folder
from lighter.engine.execution import IN_SAFE_MODE, Job, Outcome, checked, run_job, user_code_importable
from lighter.engine.notebook import shown_in_notebook
from lighter.engine.project import as_safe_mode, confined
from lighter.engine.stage_arguments import split_sections
from lighter.errors import ConfigError
from lighter.files.lock import owned
from lighter.files.run_folder import RunFolder, go_on_in, is_rank_zero
from lighter.processes.signals import stop_signals
from lighter.processes.slurm import no_srun_hint
from lighter.runs.journal import Journal, recorded
from lighter.runs.log import logging_to
from lighter.runs.read import read_run, trusted
from lighter.runs.record import refuse_unsaved, saved_form
from lighter.runs.resume.prediction import inputs_of, stopped_prediction
from lighter.runs.secrets import Secrets

if TYPE_CHECKING:
    from lighter.experiments.handle import Experiment
    from lighter.runs.resume.resume_plan import ResumePlan
    from lighter.trainer.stopping.pause import Pause

log = logging.getLogger("lighter")


class Runner:
    """Run stages of an experiment: `Runner().run("fit", ["config.yaml", "trainer::max_epochs=3"])`.

    Args:
        safe: treat the config as untrusted, so that it calls only what is on a list: True, or a `SafeMode` that says
            what is permitted beside it. A config from a URL is always run so.

    Attributes:
        outcome: of the last run: result, module, metrics, checkpoints, run, folder; None if none has ended well.
        folder: of the last run, also of one that failed; None if that got none.
    """

    outcome: Outcome | None = None
    folder: RunFolder | None = None

    def __init__(self, safe: SafeMode | bool | None = None) -> None:
        self.safe = as_safe_mode(safe)

    def run(self, stage: str, inputs: Inputs = (), **arguments: Any) -> Any:
        """Run a stage and return what the trainer's method returns.

        Args:
            stage: `fit`, `validate`, `test` or `predict`.
            inputs: config files, dicts and overrides, as on the command line: one, or a list. A dict may hold objects,
                `{"model": module}` for instance.
            arguments: for the trainer's method: `ckpt_path` (a path, `last` or `best`), `weights_only`, `verbose`,
                dataloaders, ...; `model` and `datamodule` stand for the sections `model` and `data`; and `resume` for
                `predict`: see `execute`.

        Raises:
            ConfigError: the config is wrong.
            CheckpointError: the checkpoint cannot be used.
            PredictionError: predictions cannot be written or resumed.
            KeyboardInterrupt: Ctrl-C stopped it.
            SystemExit: SIGTERM, SIGHUP or SIGUSR1 stopped it; the code is 128 + n.
        """
        return self.execute(stage, inputs, **arguments).result

    def resume(
        self,
        run: str | Path,
        overrides: Sequence[str] = (),
        take: str = "all",
        root: str = "outputs",
        *,
        weights_only: bool = True,
        pause: Pause | None = None,
    ) -> Any:
        """Resume a fit that stopped, in its own folder: `Runner().resume("last", ["trainer::max_epochs=20"])`.

        Args:
            run: which: a path, an id, the beginning of one, or `last`.
            overrides: changes of its config.
            take: what of its checkpoint: `all`, `weights` (in a new run), or `no-optimizer`.
            root: where the runs are.
            weights_only: false if its checkpoints may hold objects, which can run code.
            pause: where it is to pause again.

        Raises:
            RunError: there is no such run, or it cannot be resumed.
            CheckpointError: it has no checkpoint that can be used.
            ConfigError: the overrides are wrong, or the checkpoint means nothing with them.
        """
        from lighter.runs.resume.fit import resumed

        with resumed(run, Path(root), overrides, take, weights_only=weights_only) as (plan, inputs):
            return self.execute("fit", inputs, resume_plan=plan, pause=pause).result

    def experiment(self, inputs: Inputs, **options: Any) -> Experiment:
        """Run an experiment to its end: `Runner().experiment(["config.yaml", "model::optimizer::lr=[1e-3,1e-2]"])`.

        It runs in processes of its own, each of which imports what the config names; objects cannot be given.

        Args:
            inputs: as of a fit; an override with a list is a choice of the search space.
            options: over those of the config: `objective`, `seeds`, `folds`, `trials`, `method`, `workers`; as on the
                command line.

        Raises:
            ConfigError: the config is wrong, or its section `experiment`.
            KeyboardInterrupt: Ctrl-C stopped it.
            SystemExit: SIGTERM, SIGHUP or SIGUSR1 stopped it; the code is 128 + n.
        """
        from lighter.engine.experiment import start

        return start(listed(inputs), **options)

    def resume_experiment(
        self, experiment: str | Path = "last", changes: str | Sequence[str] = (), root: str = "outputs"
    ) -> Experiment:
        """Run what is left of an experiment, and what is asked for beyond it.

        Args:
            experiment: which: a path, an id, the beginning of one, a name, or `last`.
            changes: overrides of its section: `experiment::search::trials=100`.
            root: where the runs are.

        Raises:
            RunError: there is no such experiment, or another process has it.
            ConfigError: the changes are wrong, or are not only of what may change.
        """
        from lighter.engine.experiment import resume

        return resume(experiment, Path(root), [changes] if isinstance(changes, str) else changes)

    @shown_in_notebook
    def execute(
        self,
        stage: str,
        inputs: Inputs = (),
        *,
        resume_plan: ResumePlan | None = None,
        auto_resume: bool = False,
        resume: str | Path | None = None,
        pause: Pause | None = None,
        in_folder: Path | None = None,
        **arguments: Any,
    ) -> Outcome:
        """Run a stage and return all that the run came to.

        Args:
            inputs: as for `run`; none are needed to resume a prediction.
            resume_plan: how a fit resumes; the caller holds the lock of its folder: see `runs/resume/fit.py`.
            auto_resume: resume the newest fit of the same config, if that stopped before its end.
            resume: the stopped prediction to resume: its folder, or `last`.
            pause: where a fit is to pause: saved, to resume from there as if it had not paused.
            in_folder: the folder of a new run, made by the caller, in place of one under `run::dir`.
            arguments: as for `run`.

        Raises:
            RunError: another process has the run; nothing was changed.
        """
        if stage not in STAGES:
            raise ConfigError([Problem(f"`{stage}` is no stage", hint=nearest(stage, STAGES))])
        arguments, sections = split_sections(arguments)
        inputs = [*listed(inputs), *sections]
        # Until these are released, no other process writes into the run's folder.
        with ExitStack() as locks:
            folder = None
            if resume is not None:
                folder = locks.enter_context(stopped_prediction(stage, resume, inputs, arguments))
                inputs = inputs_of(folder)
                if self.safe is None and folder.record.is_file():
                    trusted(read_run(folder.path))
            # A run that fails must not leave the outcome of the one before.
            self.outcome = self.folder = None
            config, problems = self._examined(stage, inputs, arguments)
            options = RunOptions.of(config, inputs)
            resumes_prediction = folder is not None
            with confined(config, config.safe.runs if config.safe is not None else []):
                if auto_resume:
                    from lighter.runs.resume.fit import unfinished_fit

                    weights_only = arguments.get("weights_only") is not False
                    unfinished = unfinished_fit(config, options.root, options.name, weights_only=weights_only)
                    resume_plan = locks.enter_context(unfinished)
                before = resume_plan.folder if resume_plan is not None else None
                # The lock of a folder that is continued is held already.
                is_new = folder is None and before is None
                continued = before.path if before is not None else in_folder
                folder = folder or (go_on_in(continued) if continued is not None else claim_folder(options, config))
                guard.check(folder.path)
                self.folder = folder
                if is_new:
                    locks.enter_context(owned(folder.path, folder.id))
            if resume_plan is not None:
                arguments = {**resume_plan.arguments, **arguments}
            journal = Journal(folder, Secrets(config.merged.plain()), keeps_folder=in_folder is not None)
            with (
                stop_signals() as caught,
                confined(config, [folder.path.resolve()]),
                recorded(journal),
                caught.prevailing(),
                logging_to(folder.log if is_rank_zero() else None, journal.secrets),
            ):
                journal.open(stage, inputs, config, saved_form(arguments, journal.secrets))
                refuse_unsaved(config)
                with user_code_importable(config, problems) as project, no_srun_hint():
                    resumes = resumes_prediction, resume_plan, pause
                    job = Job(stage, config, options, journal, arguments, project, *resumes)
                    self.outcome = run_job(job)
        return self.outcome

    def _examined(self, stage: str, inputs: Sequence[Input], arguments: dict[str, Any]) -> tuple[Config, list[Problem]]:
        config, problems = examine(inputs, self.safe)
        # Nothing untrusted is imported before its problems are mended.
        if config is None or (config.safe is not None and problems):
            raise ConfigError(in_order(problems))
        # With problems of its shape, its targets are imported all the same, to show all problems at once.
        if problems:
            with user_code_importable(config, problems):
                checked(config, stage, problems, arguments)  # raises
        if config.safe is not None:
            log.info(IN_SAFE_MODE, config.safe)
        return config, problems
