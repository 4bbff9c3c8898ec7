"""Config changes since a checkpoint was saved, and which of them its state contradicts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from lighter.config import Config, read
from lighter.config.expression import referred
from lighter.config.plain_definitions import PlainDefinitions
from lighter.config.problems import Problem, indefinite
from lighter.config.safe import SafeMode
from lighter.config.tree import prefixes
from lighter.errors import ConfigError
from lighter.runs.compare import changed, flat
from lighter.runs.record import CHECKPOINT_KEY, saved_form
from lighter.runs.resume.schedule_lengths import NEW_SCHEDULE, ends_of
from lighter.runs.secrets import REDACTED, Secrets

ALL, WEIGHTS, NO_OPTIMIZER = TAKES = ("all", "weights", "no-optimizer")
CKPT_PATH = "ckpt_path"  # all, in a new run: `lighter fit --ckpt_path`

# arguments of loaders that change how data is fetched, not which
_HARMLESS = {
    *("num_workers", "pin_memory", "pin_memory_device", "persistent_workers", "prefetch_factor", "timeout"),
    *("multiprocessing_context", "worker_init_fn", "in_order"),
}
# keys beside a scheduler that are no part of its state, so a new value counts after a resume
_HEEDED = {"warmup", "manual", "interval", "frequency", "monitor", "strict", "name", "reduce_on_plateau"}
# of optimizers: what parameters have a state, and what is in it
_WITH_STATE = {"params", "amsgrad", "centered"}
# of the trainer: the number of steps or batches, which an expression may ask for, depends on these
_COUNTS_STEPS = {
    *("max_epochs", "max_steps", "accumulate_grad_batches", "limit_train_batches", "overfit_batches", "fast_dev_run"),
    *("devices", "num_nodes"),
}
# of a split: what does not change the training side
_OF_SPLIT = {"leaks", "predict"}
_MEASURES = re.compile(r"(?:train|val|test)_metrics|metrics|criterion|loss_weights|adapters|predict_tasks|finetune_cfg")
_OTHER_DATA = re.compile(r"(?:val|test|predict)(?:_dataloader|_dataset)?")


class Change(NamedTuple):
    """A value of the config that changed; None stands for no value."""

    path: str  # where it is used
    was: Any
    now: Any
    written: str  # where it stands: another path, if it is used by a reference


class Rule(NamedTuple):
    """A kind of change that some of a run's state does not survive."""

    reason: str
    takes: tuple[str, ...]  # those for which it is refused
    hint: str


_MODULE = Rule("its weights are those of another network", (ALL, NO_OPTIMIZER), "Only weights that fit: --take weights")
_OPTIMIZER = Rule(
    "the checkpoint has the state of the optimizer as it was",
    (ALL, CKPT_PATH),
    "Without that state: lighter resume RUN --take no-optimizer",
)
_SCHEDULER = Rule(
    "a scheduler's settings are part of the state that is loaded, so this would not be heeded",
    (ALL, CKPT_PATH),
    f"{NEW_SCHEDULE}. To keep the old one: {{path}}={{was}}",
)
_DATA = Rule(
    "the epoch and the step that it resumes from were counted on other data",
    (ALL, NO_OPTIMIZER),
    "To begin to count anew, in a new run: --take weights",
)


def refuse_changes(checkpoint: Mapping[str, Any], now: Config, take: str, file: Path | None = None) -> None:
    """Compare the config of a checkpoint with the one that a fit is resumed with.

    Args:
        take: one of `TAKES`, or `CKPT_PATH`.
        file: the config of a checkpoint that has none of its own.

    Raises:
        ConfigError: the state means nothing with these changes.
    """
    before = _config_of(checkpoint, now.safe, file)
    plain, now_saved = now.merged.plain(), None
    with suppress(ConfigError):  # of objects made in Python, marks are left, which need not make a config
        now_saved = read([saved_form(plain, Secrets(plain))], now.safe)
    if before is None or now_saved is None:
        return
    ends = ends_of(checkpoint)
    problems = [
        _problem(rule, change, now, ends if rule is _SCHEDULER else "")
        for rule, change in _ruled(before, now_saved)
        if take in rule.takes
    ]
    if problems:
        raise ConfigError(problems)


def _config_of(checkpoint: Mapping[str, Any], safe: SafeMode | None, file: Path | None) -> Config | None:
    ours = checkpoint.get(CHECKPOINT_KEY)
    written = ours.get("config") if isinstance(ours, Mapping) else None
    if not isinstance(written, Mapping):
        return read([file], safe) if file is not None else None
    with suppress(ConfigError):  # a checkpoint may be of anybody
        return read([dict(written)], safe)
    return None


def _ruled(before: Config, now: Config) -> Iterator[tuple[Rule, Change]]:
    section = now.module_section
    # nothing below two sections can be compared: a `System` has another layout
    if before.module_section != section:
        yield _MODULE, Change(section, before.module_section, section, section)
        return
    was, is_now = before.definitions(), now.definitions()
    for change in _changes(was, is_now, section, aside=("optimizer", "scheduler", "dataloaders")):
        key, last = change.path.split("::")[1], change.path.rpartition("::")[2]
        if last == "_target_" and not _MEASURES.fullmatch(key):
            yield _MODULE, change
    for change in _changes(was, is_now, f"{section}::optimizer", outside=section):
        # a learning rate, say, is renewed in the state that is loaded: `optimizer_settings.py`
        name = next(step for step in reversed(change.path.split("::")) if not step.isdigit())
        values = [value for value in (change.was, change.now) if value is not None]
        if name in _WITH_STATE or not all(isinstance(value, (int, float, list)) for value in values):
            yield _OPTIMIZER, change
    for change in _changes(was, is_now, f"{section}::scheduler", outside=section, spelt=_of_scheduler):
        yield _SCHEDULER, change
    for data in ["data"] if section == "model" else ["system::dataloaders", "data::split"]:
        for change in _changes(was, is_now, data, outside=section):
            steps = change.path.removeprefix(f"{data}::").split("::")
            if not _OTHER_DATA.fullmatch(steps[0]) and not _HARMLESS & set(steps) and steps[-1] not in _OF_SPLIT:
                yield _DATA, change


def _changes(
    was: PlainDefinitions,
    now: PlainDefinitions,
    path: str,
    *,
    aside: tuple[str, ...] = (),
    outside: str = "",
    spelt: Callable[[str], str] = lambda key: key,
) -> Iterator[Change]:
    """Yield the changes in all that a path leads to.

    Args:
        aside: keys below the path that are left out.
        outside: a section into which no reference is followed.
        spelt: the key to compare a value by: the same for two ways to write one thing, and empty to leave it out.
    """
    one, other = (
        {
            spelt(used.removeprefix(f"{path}::")): (used, written, value)
            for used, written, value in _values(objects, path, outside, (path,))
        }
        for objects in (was, now)
    )
    skipped = [*aside]
    for name, (before, once, old), (after, written, new) in changed(one, other, ("", "", None)):
        is_secret = REDACTED in str(old)  # which is given anew
        if not name or old == new or is_secret or any(f"{name}::".startswith(f"{key}::") for key in skipped):
            continue
        skipped.append(name)  # and what an expression refers to, which is below it
        yield Change(after or before, old, new, written or once)


def _of_scheduler(key: str) -> str:
    """Return a key below `scheduler` as that of the scheduler itself, which may be in a dict beside a warm-up."""
    first, _, rest = key.partition("::")
    if first.isdigit():
        return f"{first}::{_of_scheduler(rest)}" if _of_scheduler(rest) else ""
    if first in _HEEDED:
        return ""
    return rest if first == "scheduler" else key


def _values(
    objects: PlainDefinitions, path: str, outside: str, seen: tuple[str, ...]
) -> Iterator[tuple[str, str, Any]]:
    """Yield, for each value at and below a path, references followed: where it is used, where written, the value."""
    try:
        data = objects.definition(path)
    except KeyError:
        return
    if path == "trainer" and isinstance(data, dict):  # an expression may ask it for the number of steps alone
        data = {key: value for key, value in data.items() if key in _COUNTS_STEPS}
    for written, value in flat(data, path).items():
        refers = referred(value) if isinstance(value, str) else []
        # an expression is a value of its own too, beside what it refers to
        if value not in ({}, []) and (not refers or value[:1] == "$"):
            yield written, written, value
        for reference in refers:
            if reference not in seen and not (outside and f"{reference}::".startswith(f"{outside}::")):
                for used, place, inner in _values(objects, reference, outside, (*seen, reference)):
                    yield written + used.removeprefix(reference), place, inner


def _problem(rule: Rule, change: Change, now: Config, ends: str) -> Problem:
    was, is_now = ("not there" if value is None else indefinite(value) for value in (change.was, change.now))
    node = now.merged.find(change.written)
    message = f"this was {was}, and is {is_now}; {rule.reason}"
    if ends:
        hint = f"{NEW_SCHEDULE}.{ends}"
    else:
        hint = rule.hint.format(path=change.written, was="null" if change.was is None else change.was)
    if change.written != change.path:
        # the nearest place that is in the files: what is below it comes by the reference
        used = next(path for path in reversed(prefixes(change.path)) if now.merged.find(path) is not None)
        message = f"this was {was}, and is {is_now}, and `{used}` refers to it; {rule.reason}"
        hint += f" (or another value for {used}, without the reference)" if rule is _SCHEDULER else ""
    return Problem(message, node.origin if node else None, change.written, hint)
