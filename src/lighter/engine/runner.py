"""The order of a run."""

from __future__ import annotations

import inspect
import logging
import os
import pickle
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from lighter.config import Config, examine
from lighter.config.check.sections import STAGES
from lighter.config.defaults import FOLDER
from lighter.config.load import Input, Inputs, is_url, listed
from lighter.config.problems import ERROR, Problem, in_order, indefinite, nearest
from lighter.config.safe import SafeMode, guard
from lighter.config.safe.mode import RefusedError
from lighter.engine.project import confined, importable
from lighter.errors import CheckpointError, ConfigError, LighterError
from lighter.files import run_folder as paths
from lighter.files.lock import owned
from lighter.files.storage import is_remote, normal
from lighter.processes.garbage_collection import without_collections
from lighter.processes.signals import stop_signals
from lighter.processes.slurm import no_srun_hint
from lighter.runs.journal import Journal, recorded
from lighter.runs.log import logging_to
from lighter.runs.read import read_run, trusted
from lighter.runs.record import NOT_SAVED, record, saved_form, write_config
from lighter.runs.resume.prediction import inputs_of, stopped_prediction
from lighter.runs.secrets import REDACTED, Secrets, missing

if TYPE_CHECKING:
    from lighter.config.objects import Objects
    from lighter.runs.checkpoint_files import Checkpoints
    from lighter.runs.resume.fit import GoingOn

log = logging.getLogger("lighter")
check_log = logging.getLogger("lighter.check")
_IN_SAFE_MODE = "safe mode: only what is on the list is called; permitted beside it: %s"
_PLAIN_TRAINER = (
    "the trainer is Lightning's own; lighter.Trainer adds exact resume, NaN and Inf checks, verified checkpoints and a "
    "faster loop: trainer::_target_=lighter.Trainer"
)
_NOT_ONLY_WEIGHTS = (
    "weights_only is off: the checkpoint can run any code while it is loaded. Do this only with files that you trust."
)


@dataclass(frozen=True)
class Outcome:
    """What a stage came to.

    Attributes:
        result: what the trainer's method returned.
        trainer: the trainer as the run left it.
        folder: the run's folder.
    """

    result: Any
    trainer: Any
    folder: paths.RunFolder

    @property
    def module(self) -> Any:
        """The module as the run left it: after a fit with its last weights. `lighter.load` gives it with the best."""
        return self.trainer.lightning_module

    @property
    def metrics(self) -> dict[str, float]:
        """The last value of everything that was logged."""
        return {name: float(value) for name, value in self.trainer.callback_metrics.items()}

    @property
    def checkpoints(self) -> Checkpoints:
        """The run's checkpoints: `last`, a path; `best`, its path, monitor and score; `newest`, all of them."""
        from lighter.runs.find_checkpoint import checkpoints_of

        return checkpoints_of(self.folder)


class Runner:
    """Runs a stage of an experiment: `Runner().run("fit", ["config.yaml", "trainer::max_epochs=3"])`.

    Args:
        safe: run the config as a stranger's, which calls only what is on a list: True, or a `SafeMode` that says what
            is permitted beside it. A config from a URL is always run so.

    Attributes:
        outcome: what the last run came to: result, module, metrics, checkpoints, folder; None if none has ended well.
    """

    outcome: Outcome | None = None

    def __init__(self, safe: SafeMode | bool | None = None) -> None:
        self.safe = (SafeMode() if safe else None) if isinstance(safe, bool) else safe

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
            PredictionError: predictions cannot be written, or gone on with.
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
    ) -> Any:
        """Go on with a fit that stopped, in its own folder: `Runner().resume("last", ["trainer::max_epochs=20"])`.

        Args:
            run: which: a path, an id, the beginning of one, or `last`.
            overrides: changes of its config.
            take: what of its checkpoint: `all`, `weights` (in a new run), or `no-optimizer`.
            root: where the runs are.
            weights_only: false if its checkpoints may hold objects, which can run code.

        Raises:
            RunError: there is no such run, or it cannot go on.
            CheckpointError: it has no checkpoint that can be used.
            ConfigError: the overrides are wrong, or the checkpoint means nothing with them.
        """
        from lighter.runs.resume.fit import resumed

        with resumed(run, Path(root), overrides, take, weights_only=weights_only) as (found, inputs):
            return self.execute("fit", inputs, going_on=found).result

    def execute(
        self,
        stage: str,
        inputs: Inputs = (),
        *,
        going_on: GoingOn | None = None,
        auto_resume: bool = False,
        resume: str | Path | None = None,
        **arguments: Any,
    ) -> Outcome:
        """The same, returning all that the run came to.

        Args:
            stage: as for `run`.
            inputs: as for `run`; none are needed to go on with a prediction.
            going_on: the fit that goes on; the caller has its folder: see `engine/again/resume.py`.
            auto_resume: go on with the newest fit of the same config, if that stopped before its end.
            resume: the prediction that was stopped and goes on: its folder, or `last`.
            arguments: as for `run`.

        Raises:
            RunError: another process has the run; nothing was changed.
        """
        if stage not in STAGES:
            raise ConfigError([Problem(f"`{stage}` is no stage", hint=nearest(stage, STAGES))])
        inputs = [*listed(inputs), *_sections(arguments)]
        with ExitStack() as owner:
            resumed = None
            if resume is not None:
                resumed = owner.enter_context(stopped_prediction(stage, resume, inputs, arguments))
                inputs = inputs_of(resumed)
                if self.safe is None and resumed.record.is_file():
                    trusted(read_run(resumed.path))
            self.outcome = None
            self.outcome = self._execute_owned(owner, stage, inputs, going_on, auto_resume, resumed, arguments)
            return self.outcome

    def _execute_owned(
        self,
        owner: ExitStack,
        stage: str,
        inputs: Sequence[Input],
        going_on: GoingOn | None,
        auto_resume: bool,
        resumed: paths.RunFolder | None,
        arguments: dict[str, Any],
    ) -> Outcome:
        """The same; until `owner` is closed, no other process writes into the run's folder."""
        config, problems = examine(inputs, self.safe)
        if config is None or (config.safe is not None and problems):  # nothing of a stranger's is imported before
            raise ConfigError(in_order(problems))
        if problems:
            with _importable(config, problems):
                _checked(config, stage, problems, arguments)  # raises all that there are
        run = RunOptions.of(config, inputs)
        if config.safe is not None:
            log.info(_IN_SAFE_MODE, config.safe)
        secrets = Secrets(config.merged.plain())
        with confined(config, config.safe.runs if config.safe is not None else []):
            if auto_resume:
                from lighter.runs.resume.fit import unfinished_fit

                weights_only = arguments.get("weights_only") is not False
                unfinished = unfinished_fit(config, run.root, run.name, weights_only=weights_only)
                going_on = owner.enter_context(unfinished)
            before = going_on.folder if going_on is not None else None
            folder = resumed or (paths.go_on_in(before.path) if before is not None else claimed(run, config))
            guard.check(folder.path)
            if resumed is None and before is None:
                owner.enter_context(owned(folder.path, folder.id))
        if going_on is not None:
            arguments = {**going_on.arguments, **arguments}
        journal = Journal(folder, secrets)
        log_file = folder.log if paths.is_rank_zero() else None
        with (
            stop_signals() as caught,
            confined(config, [folder.path.resolve()]),
            recorded(journal),
            caught.prevailing(),
            logging_to(log_file, secrets),
        ):
            journal.open(stage, inputs, config, saved_form(arguments, secrets))
            refuse_missing_secrets(config)
            with _importable(config, problems) as project:
                job = _Job(stage, config, run, journal, project, resumed is not None, going_on)
                with no_srun_hint():  # also of a trainer that is Lightning's own
                    return self._execute(job, arguments)

    def _execute(self, job: _Job, arguments: Mapping[str, Any]) -> Outcome:
        """What is done in the run's folder, all of it on record."""
        config, stage, folder, going_on = job.config, job.stage, job.journal.folder, job.going_on
        with without_collections():
            from pytorch_lightning import seed_everything

            from lighter.engine.build import Parts, build_data, build_module, build_trainer, check_parts, name_functions
            from lighter.engine.failures import where_it_failed
            from lighter.engine.prediction import prepare_prediction, with_arguments

            seed_everything(config.seed, workers=True, verbose=False)  # what is imported may draw numbers too
            found = _checked(config, stage, [], arguments)
        seed_everything(config.seed, workers=True, verbose=False)
        saved = {**config.merged.plain(), **({"project": str(job.project)} if job.project else {})}
        objects, section = config.objects(), config.module_section
        objects.define(FOLDER, str(folder.path))
        name_functions(objects)
        module = build_module(objects, section, stage)
        if config.safe is not None:
            log.info(_IN_SAFE_MODE, config.safe, extra={"shown": True})
            objects.safe = config.safe.within([folder.path])
        for warning in found if paths.is_rank_zero() else ():
            check_log.warning("%s", warning)
        if going_on is None:
            trainer = build_trainer(objects, folder)
        else:
            trainer = going_on.build_trainer(objects, lambda: build_trainer(objects, folder))
        _suggest_trainer(objects, trainer)
        parts = Parts(module, build_data(objects, stage), trainer)
        call = _call_arguments(objects, stage, trainer, arguments)
        check_parts(objects, section, parts, stage, call)
        path = _checkpoint(job, trainer, call)
        if path is not None:
            call["ckpt_path"] = path
        if stage == "predict":
            prepare_prediction(trainer, folder, goes_on=job.goes_on)
            saved = with_arguments(saved, call)
        if going_on is not None:
            going_on.prepare(module, trainer)
            job.journal.note(resumed=going_on.facts)
        with where_it_failed(objects):
            return _go(job, saved_form(saved, job.journal.secrets), parts, call)


@dataclass(frozen=True)
class _Job:
    """What is to be run, once the config is read and the folder is there.

    Attributes:
        project: the folder that is importable as `project`.
        goes_on: whether it is a prediction that goes on.
        going_on: the fit that goes on.
    """

    stage: str
    config: Config
    run: RunOptions
    journal: Journal
    project: Path | None
    goes_on: bool
    going_on: GoingOn | None


@contextmanager
def _importable(config: Config, problems: list[Problem]) -> Iterator[Path | None]:
    """The user's code is importable for as long as this lasts; a project that is not there is one more problem."""
    with ExitStack() as stack:
        try:
            project = stack.enter_context(importable(config, Path.cwd()))
        except ConfigError as error:
            raise ConfigError(in_order([*problems, *error.problems])) from None
        yield project


def _checked(config: Config, stage: str, problems: list[Problem], given: Mapping[str, Any]) -> list[Problem]:
    """The warnings of a config without mistakes.

    A module of the user's that fails while it is imported is no mistake of the config: it fails again when it is used,
    with its own exception.

    Raises:
        ConfigError: with everything that is wrong with the config.
    """
    from lighter.engine.check import check

    found = check(config, stage, given=[key for key, value in given.items() if value is not None])
    every = in_order([*problems, *found.problems])
    if any(problem.severity == ERROR for problem in every):
        raise ConfigError(in_order([*every, *found.failures]))
    return every


@dataclass(frozen=True)
class RunOptions:
    """Where runs go and what they are called: `run: {dir: outputs, name: digits}`."""

    root: Path
    name: str

    @classmethod
    def of(cls, config: Config, inputs: Sequence[Input]) -> RunOptions:
        """What the config says, or else `outputs` and the name of its last file."""
        node = config.expanded.child("run")
        given: Mapping[str, Any] = (node.value or {}) if node is not None else {}
        root = Path(normal(given["dir"].value if "dir" in given else paths.OUTPUTS)).expanduser()
        return cls(root, given["name"].value if "name" in given else _default_name(inputs))


def _sections(arguments: dict[str, Any]) -> list[Input]:
    """Take what is a section of the config out of the arguments of the trainer's method."""
    sections = {"model": arguments.pop("model", None), "data": arguments.pop("datamodule", None)}
    given = {section: value for section, value in sections.items() if value is not None}
    return [given] if given else []


def _default_name(inputs: Sequence[Input]) -> str:
    """The last config file's name; where it is called config.yaml, that of its folder or of the run that saved it.

    A config from a URL has no folder of ours, and so only its own name.
    """
    files = [Path(item) for item in inputs if isinstance(item, (str, os.PathLike)) and os.path.isfile(item)]
    if not files:
        urls = [PurePosixPath(urlsplit(str(item)).path).stem for item in inputs if is_url(item)]
        return urls[-1] if urls and urls[-1] != "config" else "run"
    return paths.name_of(files[-1].resolve().parent) if files[-1].stem == "config" else files[-1].stem


def _suggest_trainer(objects: Objects, trainer: Any) -> None:
    """Say once what `lighter.Trainer` would add, where a config names Lightning's own."""
    import pytorch_lightning

    is_written = isinstance(objects.definition(objects.followed("trainer")), Mapping)
    if is_written and type(trainer) is pytorch_lightning.Trainer and paths.is_rank_zero():
        log.info(_PLAIN_TRAINER)


def refuse_missing_secrets(config: Config, within: str = "") -> None:
    """A config that a run saved is without its secrets, and without objects that were made in Python.

    Args:
        within: the section that is looked at; all of them if it is empty.

    Raises:
        ConfigError: with the places of all that are left out.
    """
    hint = "Give it on the command line: {path}=VALUE, or have the config read it: $__import__('os').environ['NAME']"
    objects = "Run the Python that made it, or define it: {path}={{_target_: package.Class}}"
    kinds = ((REDACTED, "this is a secret", hint), (NOT_SAVED, "this was an object made in Python", objects))
    problems = [
        Problem(f"{what}, which was not saved: {node.plain()}", node.origin, path, advice.format(path=path))
        for mark, what, advice in kinds
        for path in missing(config.merged.plain(), mark=mark)
        if path.startswith(within) and (node := config.merged.find(path)) is not None
    ]
    if problems:
        raise ConfigError(problems)


def claimed(run: RunOptions, config: Config) -> paths.RunFolder:
    """A new folder for a run.

    Raises:
        ConfigError: none can be made where the config wants it.
    """
    from lighter.engine import ranks

    try:
        return ranks.claim(run.root, run.name)
    except OSError as error:
        node = config.merged.find("run::dir")
        message = f"no run folder can be made under {run.root}: {error.strerror or error}"
        raise ConfigError(
            [Problem(message, node.origin if node else None, "run::dir", "Name another: run::dir=PATH")]
        ) from error


def _call_arguments(objects: Any, stage: str, trainer: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of the trainer's method: the config's `args`, and over them those of the command line."""
    configured = _configured_arguments(objects, stage)
    allowed = [
        name for name in inspect.signature(getattr(trainer, stage)).parameters if name not in ("model", "datamodule")
    ]
    problems = [
        objects.problem(f"`trainer.{stage}` has no argument `{key}`", f"args::{stage}::{key}", nearest(key, allowed))
        for key in configured
        if key not in allowed
    ]
    problems += [
        Problem(f"`trainer.{stage}` has no argument `{key}`", hint=nearest(key, allowed))
        for key in given
        if key not in allowed
    ]
    problems += _refused_arguments(objects, stage, configured, given)
    if problems:
        raise ConfigError(problems)
    call = {**configured, **{key: value for key, value in given.items() if value is not None}}
    if "weights_only" in allowed:  # said always: of a checkpoint at a URL, Lightning's default is to run its code
        call["weights_only"] = given.get("weights_only") is not False
        if not call["weights_only"]:
            warnings.warn(_NOT_ONLY_WEIGHTS, stacklevel=2)
    return call


def _refused_arguments(
    objects: Any, stage: str, configured: Mapping[str, Any], given: Mapping[str, Any]
) -> list[Problem]:
    """What a config must not decide: whether a checkpoint may run code; in safe mode, that any may, and where it is."""
    problems = []
    if configured.get("weights_only") not in (True, None):
        from lighter.engine.build import DECIDES_NOT

        problems.append(objects.problem(DECIDES_NOT, f"args::{stage}::weights_only"))
    if objects.safe is None:
        return problems
    if given.get("weights_only") is False:
        problems.append(Problem("in safe mode checkpoints are loaded with `weights_only`, always"))
    if given.get("ckpt_path") is None and configured.get("ckpt_path") not in (None, "last", "best"):
        try:
            objects.safe.check_path(configured["ckpt_path"], "ckpt_path")
        except RefusedError as refused:
            problems.append(objects.problem(str(refused), f"args::{stage}::ckpt_path", refused.hint))
    return problems


def _configured_arguments(objects: Any, stage: str) -> dict[str, Any]:
    written = objects.definition("args") if "args" in objects.sections else None
    if not (written or {}).get(stage):
        return {}
    path = f"args::{stage}"
    objects.define(path, objects.definition(path))
    configured = objects.get(path)
    if not isinstance(configured, Mapping):
        message = f"the arguments of a stage are a dict; found {indefinite(configured)}"
        raise ConfigError([objects.problem(message, path)])
    return dict(configured)


def _left_by_exception(trainer: Any) -> str | None:
    """Return the checkpoint that Lightning would resume from by itself, so that it is verified, logged and recorded."""
    from lighter.trainer.checkpointing.connector import LEFT_BY_EXCEPTION
    from lighter.trainer.checkpointing.defaults import left_by_exception

    found = left_by_exception(trainer)
    if found is not None:
        log.warning(LEFT_BY_EXCEPTION, found)
    return found


def _checkpoint(job: _Job, trainer: Any, call: Mapping[str, Any]) -> str | None:
    """Return the file of the checkpoint that a run starts from, seen to be usable; None if it starts from none."""
    from lighter.runs import find_checkpoint as checkpoints

    wanted, fits, is_safe = call.get("ckpt_path"), job.stage == "fit", job.config.safe is not None
    if wanted is None and fits and job.going_on is None:
        wanted = _left_by_exception(trainer)
    if wanted is None:
        return None
    weights_only = call.get("weights_only") is not False
    check = partial(checkpoints.verify, weights_only=weights_only, safe=is_safe, fits=fits)
    root, name, folder = job.run.root, job.run.name, job.journal.folder
    path = checkpoints.find(wanted, root, name, besides=folder, check=check, fits=fits, inside=is_safe)
    log.info("checkpoint: %s", path)
    if fits and job.going_on is None:
        _refuse_changes(path, job.config, weights_only=weights_only)
    return path


def _refuse_changes(path: str, config: Config, *, weights_only: bool) -> None:
    """See that the state of a checkpoint means something with this config; of a URL or a folder, nothing is known."""
    from lighter.runs.resume.config_changes import CKPT_PATH, refuse_changes
    from lighter.runs.resume.saved_state import content_of

    if not is_remote(path) and os.path.isfile(path):
        refuse_changes(content_of(Path(path), weights_only=weights_only), config, CKPT_PATH)


def _nothing() -> None:
    pass


def _go(job: _Job, saved: dict[str, Any], parts: Any, call: dict[str, Any]) -> Outcome:
    """Record the run, and call the trainer. A prediction that goes on has its config on record."""
    from lighter.engine import recorder
    from lighter.engine.stopping import stopped_by_signals
    from lighter.runs import find_checkpoint as checkpoints

    stage, journal, folder = job.stage, job.journal, job.journal.folder
    log.info("%s, in %s", stage, folder.path)
    safe = job.config.safe
    note = f"{_IN_SAFE_MODE % safe}\nRun this file with --safe too." if safe is not None else ""
    write = partial(write_config, saved, folder, note) if paths.is_rank_zero() and not job.goes_on else _nothing
    waits = job.going_on is not None and job.going_on.folder is not None  # until it is known that the run is resumed
    if not waits:
        write()
    if not job.goes_on:
        record(saved, parts.module, parts.trainer)
    recorder.attach(parts.trainer, parts.module, parts.data, journal, saved, write if waits else _nothing)
    journal.begin(checkpoint=call.get("ckpt_path"))
    try:
        with stopped_by_signals(parts.trainer, journal):
            result = getattr(parts.trainer, stage)(parts.module, datamodule=parts.data, **call)
    except Exception as error:
        if paths.is_rank_zero():
            log.error("failed: %s", error, exc_info=not isinstance(error, LighterError))
        if call.get("ckpt_path") and isinstance(error, pickle.UnpicklingError):  # of a URL; a file was opened before
            raise checkpoints.refused(call["ckpt_path"], error) from error
        if call.get("ckpt_path") and "You restored a checkpoint with current_epoch" in str(error):
            hint = f"Give it more, or begin anew with its weights: model::ckpt_path={call['ckpt_path']}"
            raise CheckpointError(f"{call['ckpt_path']} is further than trainer::max_epochs. {error} {hint}") from error
        if call.get("ckpt_path") and str(error).startswith("Error(s) in loading state_dict"):
            raise CheckpointError(f"{call['ckpt_path']} does not fit this model.\n{error}") from error
        raise
    finally:
        journal.note(**recorder.how_far(parts.trainer))
    journal.note(**recorder.results(parts.trainer))
    log.info("finished")
    return Outcome(result, parts.trainer, folder)
