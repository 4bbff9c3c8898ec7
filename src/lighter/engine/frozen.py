"""A config as other processes read it from a file: all of it, so nothing may be left out as secrets and objects are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lighter.config import Config
from lighter.config.problems import Problem, in_order
from lighter.errors import ConfigError
from lighter.runs.record import NOT_SAVED, saved_form
from lighter.runs.secrets import REDACTED, Secrets, missing

_LEFT_OUT = (
    (
        REDACTED,
        "this is a secret, and {readers} read the config from a file, where none is written",
        "Have the config read it: $__import__('os').environ['NAME']",
    ),
    (
        NOT_SAVED,
        "this is an object made in Python, and {readers} run in other processes",
        "Define it: {_target_: package.Class, ...}",
    ),
)


def frozen(config: Config, project: Path | None, readers: str) -> dict[str, Any]:
    """Return a config as it is written for other processes, which messages call `readers`.

    Raises:
        ConfigError: it has what is left out of files.
    """
    plain = config.merged.plain()
    saved = saved_form({**plain, **({"project": str(project)} if project else {})}, Secrets(plain))
    problems = [
        Problem(message.format(readers=readers), node.origin, path, hint)
        for mark, message, hint in _LEFT_OUT
        for path in missing(saved, mark=mark)
        if (node := config.merged.find(path)) is not None
    ]
    if problems:
        raise ConfigError(in_order(problems))
    return saved
