"""`--json` of every command: one JSON document on stdout. Whatever else is printed goes to stderr.

A command gives its document while it runs, and errors are noted where they are shown. Both are written at the end, when
the exit code is known. The schemas of the documents are in `json_schemas.yaml`.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import click

from lighter.cli.groups import Group
from lighter.cli.json_errors import STOPPED, entry, of_exception, of_usage
from lighter.processes.ranks import is_rank_zero
from lighter.processes.signals import Stopped, name_of
from lighter.processes.streams import stdout_kept

_ERRORS = "lighter.errors/1"
_FOR_PEOPLE = ("-h", "--help", "--version")


class JsonOutput:
    """The document of a command and its errors, as far as they are known."""

    def __init__(self) -> None:  # no dataclass: that takes as long to import as all of this module
        self.document: object = None
        self.errors: list[dict[str, Any]] = []
        self.facts: dict[str, object] = {}

    def finished(self, code: int) -> object:
        """Return what is written: the document with the exit code where it has one, or the errors alone."""
        if self.document is None:
            return {"schema": _ERRORS, "exit_code": code, "errors": self.errors, **self.facts}
        if not isinstance(self.document, Mapping):
            return self.document
        ending = {"exit_code": code} if "exit_code" in self.document else {}
        return {**self.document, **ending, **({"errors": self.errors} if self.errors else {})}


def give(schema: str, data: object) -> None:
    """Give the document of the running command, of a schema such as `runs.show/1`. Lists do not name theirs."""
    give_whole({"schema": f"lighter.{schema}", **data} if isinstance(data, Mapping) else data)


def give_whole(document: object) -> None:
    """Give a document that says itself what it is, as a JSON schema does."""
    output = _current()
    if output is None:  # called by Python code, without the group
        print(as_json(document))
    else:
        output.document = document


def is_asked() -> bool:
    """Return whether the running command is to write JSON."""
    return _current() is not None


def is_wanted() -> bool:
    """Return whether the running command was given `--json`."""
    return _current() is not None


def note(error: BaseException) -> None:
    """Note an error that is shown on stderr, if JSON is asked for."""
    output = _current()
    if output is not None:
        output.errors += of_exception(error)


def note_fact(name: str, data: object) -> None:
    """Note what programs want to know of a command even if it has no document but errors."""
    output = _current()
    if output is not None:
        output.facts[name] = data


def note_all(errors: Sequence[dict[str, Any]]) -> None:
    output = _current()
    if output is not None:
        output.errors += errors


def as_json(data: object) -> str:
    """Write data as JSON, which has no NaN and no Inf: null. All of it is ASCII, whatever the locale."""
    return json.dumps(jsonable(data), indent=1, allow_nan=False)


def jsonable(value: object) -> object:
    """Return data with null for each number that JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): jsonable(inner) for key, inner in value.items()}
    if isinstance(value, Path):
        return str(value)
    return [jsonable(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def _current() -> JsonOutput | None:
    context = click.get_current_context(silent=True)
    return context.find_object(JsonOutput) if context is not None else None


class Commands(Group):
    """The group of all commands, which writes the JSON of the one that runs."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **settings: Any,
    ) -> Any:
        """Run a command. With `--json`, its document is written at the end, and its exit code stays."""
        words = list(sys.argv[1:] if args is None else args)
        if not _is_asked(words) or not standalone_mode:
            return super().main(args, prog_name, complete_var, standalone_mode, **settings)
        output = JsonOutput()
        with stdout_kept() as stdout:
            try:
                code = self._run(words, output, {**settings, "prog_name": prog_name, "obj": output})
            except Exception as error:  # a fault of ours: as much as is known
                output.errors += of_exception(error)
                _write(output.finished(1), stdout)
                raise
            if output.document is not None or code:
                _write(output.finished(code), stdout)
        sys.exit(code)

    def _run(self, words: list[str], output: JsonOutput, settings: Mapping[str, Any]) -> int:
        try:
            code = super().main(words, standalone_mode=False, **settings)
        except click.ClickException as error:
            error.show()
            output.errors.append(of_usage(error))
            return error.exit_code
        except click.Abort:  # Ctrl-C
            click.echo("Aborted!", err=True)
            output.errors.append(entry(STOPPED, "Stopped by Ctrl-C"))
            return 1
        except SystemExit as end:
            if isinstance(end, Stopped):
                output.errors.append(entry(STOPPED, f"Stopped by {name_of(end.signum)}"))
            return end.code if isinstance(end.code, int) else int(end.code is not None)
        return code if isinstance(code, int) else 0


def _is_asked(words: Sequence[str]) -> bool:
    """Return whether words of a command line ask for JSON; a wrong option is then told as JSON, too."""
    options = list(words[: words.index("--")] if "--" in words else words)
    is_format = "compare" in options and ("--format=json" in options or ("--format", "json") in pairwise(options))
    return ("--json" in options or is_format) and not any(word in options for word in _FOR_PEOPLE)


def _write(document: object, stdout: IO[str]) -> None:
    # the other processes of a distributed run have the same command line
    if not is_rank_zero():
        return
    try:
        stdout.write(f"{as_json(document)}\n")
        stdout.flush()
    except BrokenPipeError:
        sys.exit(1)
    except OSError as error:
        print(f"stdout cannot be written: {error.strerror or error}", file=sys.stderr)
        sys.exit(1)
