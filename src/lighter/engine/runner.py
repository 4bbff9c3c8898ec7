"""The order of a run."""

from __future__ import annotations

import inspect
import logging
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lighter.config import Config, read
from lighter.config.check import STAGES
from lighter.config.load import Input
from lighter.config.problems import Problem, indefinite, nearest
from lighter.errors import CheckpointError, ConfigError, LighterError
from lighter.run import paths
from lighter.run.journal import Journal, recorded
from lighter.run.log import logging_to
from lighter.run.record import record, saved_form
from lighter.run.secrets import REDACTED, Secrets, missing

if TYPE_CHECKING:
    from lighter.engine.again.resume import GoingOn

log = logging.getLogger("lighter")


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


class Runner:
    """Runs a stage of an experiment: `Runner().run("fit", ["config.yaml", "trainer::max_epochs=3"])`."""

    def run(self, stage: str, inputs: Sequence[Input], **arguments: Any) -> Any:
        """Run a stage and return what the trainer's method returns.

        Args:
            stage: `fit`, `validate`, `test` or `predict`.
            inputs: config files, dicts and overrides, as on the command line.
            arguments: for the trainer's method: `ckpt_path` (a path, `last` or `best`), `weights_only`, `verbose`, ...

        Raises:
            ConfigError: the config is wrong.
            CheckpointError: the checkpoint cannot be used.
            KeyboardInterrupt: Ctrl-C stopped it.
            SystemExit: SIGTERM stopped it; the code is 143.
        """
        return self.execute(stage, inputs, **arguments).result

    def resume(self, run: str | Path, overrides: Sequence[str] = (), take: str = "all", root: str = "outputs") -> Any:
        """Go on with a fit that stopped, in its own folder: `Runner().resume("last", ["trainer::max_epochs=20"])`.

        Args:
            run: which: a path, an id, the beginning of one, or `last`.
            overrides: changes of its config.
            take: what of its checkpoint: `all`, `weights` (in a new run), or `no-optimizer`.
            root: where the runs are.

        Raises:
            RunError: there is no such run, or it cannot go on.
            CheckpointError: it has no checkpoint that can be used.
            ConfigError: the overrides are wrong, or the checkpoint means nothing with them.
        """
        from lighter.engine.again.resume import going_on, run_to_resume

        found, inputs = going_on(run_to_resume(run, Path(root)), overrides, take)
        return self.execute("fit", inputs, going_on=found).result

    def execute(
        self,
        stage: str,
        inputs: Sequence[Input],
        *,
        going_on: GoingOn | None = None,
        auto_resume: bool = False,
        **arguments: Any,
    ) -> Outcome:
        """The same, returning all that the run came to.

        Args:
            stage: as for `run`.
            inputs: as for `run`.
            going_on: the run that goes on.
            auto_resume: go on with the newest fit of the same config, if that stopped before its end.
            arguments: as for `run`.
        """
        if stage not in STAGES:
            raise ConfigError([Problem(f"`{stage}` is no stage", hint=nearest(stage, STAGES))])
        config = read(inputs)
        run = _RunOptions.of(config, inputs)
        if auto_resume:
            from lighter.engine.again.resume import unfinished_fit

            going_on = unfinished_fit(config, run.root, run.name)
        if going_on is not None:
            arguments = {**going_on.arguments, **arguments}
        secrets = Secrets(config.merged.plain())
        folder = (paths.go_on_in(going_on.folder) if going_on and going_on.folder else None) or _claimed(run, config)
        journal = Journal(folder, secrets)
        with recorded(journal), logging_to(folder.log if paths.is_rank_zero() else None, secrets):
            journal.open(stage, inputs, config, arguments)
            return self._execute(stage, config, run, journal, arguments, going_on)

    def _execute(
        self,
        stage: str,
        config: Config,
        run: _RunOptions,
        journal: Journal,
        arguments: Mapping[str, Any],
        going_on: GoingOn | None,
    ) -> Outcome:
        """What is done in the run's folder, all of it on record."""
        refuse_missing_secrets(config)
        seed, folder = config.merged.value["seed"].value, journal.folder

        from pytorch_lightning import seed_everything

        from lighter.engine.build import Parts, build_data, build_module, build_trainer, check_parts, name_functions
        from lighter.engine.families import family
        from lighter.engine.project import make_importable

        seed_everything(seed, workers=True, verbose=False)
        project = make_importable(config, Path.cwd())
        merged = {**config.merged.plain(), **({"project": str(project)} if project else {})}
        saved = saved_form(merged, journal.secrets)
        objects, section = config.objects(), config.module_section
        name_functions(objects)
        module = build_module(objects, section, stage)
        package = family(type(module), "LightningModule") or ""
        if going_on is None:
            trainer = build_trainer(objects, package, folder)
        else:
            trainer = going_on.build_trainer(objects, lambda: build_trainer(objects, package, folder))
        parts = Parts(module, build_data(objects, stage), trainer, package)
        check_parts(objects, section, parts, stage)
        call = _call_arguments(objects, stage, trainer, arguments)
        if call.get("ckpt_path") is not None:
            call = {"weights_only": True, **call, "ckpt_path": _checkpoint(call, run, folder)}
        if going_on is not None:
            going_on.prepare(module, trainer)
            journal.note(resumed=going_on.facts)
        return _go(stage, saved, parts, journal, call)


@dataclass(frozen=True)
class _RunOptions:
    """Where runs go and what they are called: `run: {dir: outputs, name: digits}`."""

    root: Path
    name: str

    @classmethod
    def of(cls, config: Config, inputs: Sequence[Input]) -> _RunOptions:
        node = config.expanded.child("run")
        given: Mapping[str, Any] = (node.value or {}) if node is not None else {}
        problems = []
        for key, child in given.items():
            if key not in ("dir", "name"):
                problems.append(
                    Problem("this option is unknown", child.key_origin, f"run::{key}", nearest(key, ("dir", "name")))
                )
            elif not isinstance(child.value, str):
                problems.append(
                    Problem(f"`run::{key}` is text; found {indefinite(child.plain())}", child.origin, f"run::{key}")
                )
        if problems:
            raise ConfigError(problems)
        root = Path(given["dir"].value if "dir" in given else paths.OUTPUTS).expanduser()
        return cls(root, given["name"].value if "name" in given else _default_name(inputs))


def _default_name(inputs: Sequence[Input]) -> str:
    """The last config file's name; where it is called config.yaml, that of its folder or of the run that saved it."""
    files = [Path(item) for item in inputs if isinstance(item, (str, os.PathLike)) and Path(item).is_file()]
    if not files:
        return "run"
    return paths.name_of(files[-1].resolve().parent) if files[-1].stem == "config" else files[-1].stem


def refuse_missing_secrets(config: Config) -> None:
    """A config that a run saved is without its secrets.

    Raises:
        ConfigError: with the places of all that are left out.
    """
    hint = "Give it on the command line: {path}=VALUE, or have the config read it: $__import__('os').environ['NAME']"
    problems = [
        Problem(f"this is a secret, which was not saved: {REDACTED}", node.origin, path, hint.format(path=path))
        for path in missing(config.merged.plain())
        if (node := config.merged.find(path)) is not None
    ]
    if problems:
        raise ConfigError(problems)


def _claimed(run: _RunOptions, config: Config) -> paths.RunFolder:
    try:
        return paths.claim(run.root, run.name)
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
    if problems:
        raise ConfigError(problems)
    return {**configured, **{key: value for key, value in given.items() if value is not None}}


def _configured_arguments(objects: Any, stage: str) -> dict[str, Any]:
    written = objects.definition("args") if "args" in objects.sections else None
    if not (written or {}).get(stage):
        return {}
    path = f"args::{stage}"
    objects.define(path, objects.definition(path))
    return dict(objects.get(path))


def _checkpoint(call: Mapping[str, Any], run: _RunOptions, folder: paths.RunFolder) -> str:
    from lighter.engine import checkpoints

    path = checkpoints.find(call["ckpt_path"], run.root, run.name, besides=folder)
    checkpoints.verify(path, weights_only=call.get("weights_only"))
    log.info("checkpoint: %s", path)
    return path


def _go(stage: str, saved: dict[str, Any], parts: Any, journal: Journal, call: dict[str, Any]) -> Outcome:
    """Record the run and call the trainer."""
    from lighter.engine import recorder

    folder = journal.folder
    log.info("%s, in %s", stage, folder.path)
    record(saved, parts.module, parts.trainer, folder if paths.is_rank_zero() else None)
    recorder.attach(parts.trainer, parts.module, parts.data, journal, saved)
    journal.begin(checkpoint=call.get("ckpt_path"))
    try:
        result = getattr(parts.trainer, stage)(parts.module, datamodule=parts.data, **call)
    except SystemExit as error:  # what Lightning makes of a signal
        _end_by_signal(parts.trainer, error)
        raise
    except Exception as error:
        if paths.is_rank_zero():
            log.error("failed: %s", error, exc_info=not isinstance(error, LighterError))
        if call.get("ckpt_path") and str(error).startswith("Error(s) in loading state_dict"):
            raise CheckpointError(f"{call['ckpt_path']} does not fit this model.\n{error}") from error
        raise
    finally:
        journal.note(**recorder.how_far(parts.trainer))
    journal.note(**recorder.results(parts.trainer))
    _end_by_signal(parts.trainer)
    log.info("finished")
    return Outcome(result, parts.trainer, folder)


def _end_by_signal(trainer: Any, cause: BaseException | None = None) -> None:
    """End as a signalled process should, where Lightning would end with 0 or 1."""
    if trainer.received_sigterm:
        log.warning("stopped by signal %d", signal.SIGTERM)
        raise SystemExit(128 + signal.SIGTERM) from cause
    if trainer.interrupted:
        log.warning("interrupted")
        raise KeyboardInterrupt from cause
