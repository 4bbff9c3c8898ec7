"""Good configs with one thing changed: what `check` accepts, `fit` runs, and what `check` refuses, `fit` refuses.

`python -m tests.config.mutations --count 300 --seed 0` tries many, and lists those of which the two say different
things. A short sample of them is in the suite.
"""

from __future__ import annotations

import argparse
import copy
import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from lighter.config import load_merged
from lighter.config.problems import ERROR
from lighter.config.yaml import dump
from lighter.engine.runner import Runner
from lighter.errors import ConfigError, LighterError
from lighter.processes.signals import Stopped
from tests.config.corpus import found_in

HERE = Path(__file__).parent
BASES = (HERE / "bad" / "good.yaml", HERE / "bad" / "system.yaml")
SHORT = {
    "enable_model_summary": False,
    "limit_train_batches": 1,
    "limit_val_batches": 1,
    "max_epochs": 1,
    "enable_progress_bar": False,
}
VALUES: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 1, 3, 1.5, 1e9, "", "x", "torch.nn", "torch.nn.ReLU", [], {}, [1], [None], {"a": 1}),
    *(
        "@vars",
        "@vars::nope",
        "%vars",
        "%::x",
        "@model",
        "@trainer",
        "$1",
        "$1 / 0",
        "$nope",
        "$[",
        "$None",
        "$exit(0)",
    ),
    *({"_target_": "torch.nn.ReLU"}, {"_target_": "builtins.dict"}, {"_target_": "torch.nope"}, {"_target_": 5}),
)
SPECIAL = (
    "_args_",
    "_mode_",
    "_disabled_",
    "_base_",
    "_imports_",
    "args",
    "run",
    "seed",
    "nope",
    "logger",
    "callbacks",
)


@dataclass(frozen=True)
class Outcome:
    """What the two say of a config.

    Attributes:
        refused: whether `check` finds an error.
        failure: how `fit` failed; None if it ran.
    """

    refused: bool
    failure: BaseException | None

    @property
    def fault(self) -> str:
        """What is wrong with that; empty where nothing is."""
        if self.refused and self.failure is None:
            return "check refuses it, and fit runs it"
        if not self.refused and self.failure is not None and not self.has_place():
            return f"fit fails without a place: {type(self.failure).__name__}: {self.failure}"
        return ""

    def has_place(self) -> bool:
        """Whether the failure says where in the config it belongs."""
        if isinstance(self.failure, ConfigError):
            return all(problem.path or problem.origin is not None for problem in self.failure.problems)
        notes = getattr(self.failure, "__notes__", [])
        return isinstance(self.failure, LighterError) or any("while `" in note for note in notes)


def mutated(config: dict[str, Any], random: Random) -> tuple[str, dict[str, Any]]:
    """A copy with one thing changed, and what that is."""
    changed = copy.deepcopy(config)
    holder, key, path = random.choice([*_places(changed, "")])
    how = random.choice(("value", "value", "value", "delete", "key", "letter", "add"))
    value: Any = copy.deepcopy(random.choice(VALUES))
    if how == "delete":
        del holder[key]
    elif how == "key" and isinstance(holder, dict):
        value = _misspelt(str(key), random)
        holder[value] = holder.pop(key)
    elif how == "letter" and isinstance(holder[key], str):
        value = holder[key] = _misspelt(holder[key], random)
    elif how == "add" and isinstance(holder, dict):
        key = random.choice(SPECIAL)
        holder[key] = value
    else:
        how, holder[key] = "value", value
    return f"{how} {path} ({key}): {value!r}", changed


def _misspelt(text: str, random: Random) -> str:
    at = random.randrange(len(text) + 1)
    return random.choice((text[:at] + text[at + 1 :], text[:at] + random.choice("x._:") + text[at:]))


def _places(value: Any, path: str) -> Iterator[tuple[Any, Any, str]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in items:
        here = f"{path}::{key}" if path else str(key)
        yield value, key, here
        yield from _places(child, here)


def outcome(config: dict[str, Any], name: str = "mutated.yaml") -> Outcome:
    """What `check` and `fit` say of a config, in the working directory."""
    trainer = config.get("trainer")
    if isinstance(trainer, dict):
        config = {**config, "trainer": {**SHORT, **trainer}}
    Path(name).write_text(dump(config), encoding="utf-8")
    refused = any(problem.severity == ERROR for problem in found_in([name], "fit"))
    failure: BaseException | None = None
    try:
        Runner().run("fit", [name])
    except BaseException as error:
        if isinstance(error, (KeyboardInterrupt, Stopped)):
            raise
        failure = error
    return Outcome(refused, failure)


def originals() -> list[dict[str, Any]]:
    """The good configs, as plain data."""
    return [load_merged([str(path)]).plain() for path in BASES]


def main() -> None:
    """Try many, and say which fell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    folder = tempfile.mkdtemp()
    os.chdir(folder)
    faults = later = 0
    for number in range(options.count):
        what, config = mutated(originals()[number % len(BASES)], Random(f"{options.seed}-{number}"))
        found = outcome(config)
        faults += bool(found.fault)
        if found.fault:
            print(f"FAULT {number}: {what}\n      {found.fault[:300]}", flush=True)
        elif found.failure is not None and not found.refused:
            later += 1
            print(
                f"only fit {number}: {what}\n      {type(found.failure).__name__}: {str(found.failure)[:200]}",
                flush=True,
            )
    print(f"{options.count} configs, {faults} faults; of {later} only fit says what is wrong, with its place")
    shutil.rmtree(folder)
    raise SystemExit(bool(faults))


if __name__ == "__main__":
    main()
