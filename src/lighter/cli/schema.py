"""`lighter schema`: a JSON schema by which editors complete and check the files of a config."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from lighter.cli.check import WRONG, title
from lighter.cli.completion import of_inputs
from lighter.cli.json_errors import USAGE, entry
from lighter.cli.json_output import give, give_whole, note, note_all
from lighter.cli.json_schemas import names, schema_of
from lighter.cli.messages import mistakes_shown
from lighter.cli.options import EPILOG, as_json, safe_mode, with_safe_mode
from lighter.cli.outputs import named, written
from lighter.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lighter.config.problems import Problem
    from lighter.config.safe import SafeMode

_HEAD = rb'\{\s*"\$schema":\s*"[^"\s]*",\s*"\$comment":\s*"%b"[,}\s]'
_HEADER = "# yaml-language-server: $schema="


def _documents(context: click.Context, parameter: click.Parameter, word: str) -> list[CompletionItem[str]]:
    return [CompletionItem(name) for name in names() if name.startswith(word)]


@click.command(epilog=EPILOG)
@click.argument("inputs", nargs=-1, metavar="[INPUT]...", shell_complete=of_inputs)
@click.option(
    "--of",
    "document",
    metavar="COMMAND",
    shell_complete=_documents,
    help="The schema of what this command prints with --json instead: fit, runs.list, ...; errors.",
)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    callback=named,
    type=click.Path(dir_okay=False, allow_dash=True),
    help="The schema; its folder is made. Without it, the schema is printed.",
)
@with_safe_mode
@as_json
def schema(output: Path | None, document: str | None, as_json: bool, **options: Any) -> None:
    """Write a JSON schema of a config's targets and their arguments, for editors. INPUT: config files, and overrides.

    \b
      lighter schema config.yaml -o config.schema.json

    Prints the line that tells an editor of the schema, to be put at the top of the config.
    """
    words = list(options.pop("inputs"))
    if bool(words) == (document is not None):
        raise click.UsageError("Name the files of a config, or a command with --of.")
    with mistakes_shown():
        _refuse_other_files(output)
        made, files = (schema_of(document), []) if document else _made(words, safe_mode(options))
        if output is None and as_json:
            give_whole(made)
            return
        text = json.dumps(made, ensure_ascii=False, indent=1 if output else None)
        if output is None:
            click.echo(text)
            return
        from lighter.config.load import is_url
        from lighter.files.atomic import write_whole

        with written(output):
            real = output.resolve()  # a link stays one
            real.parent.mkdir(parents=True, exist_ok=True)
            write_whole(real, f"{text}\n")
    headers = {file: _header(output, file) for file in files if not is_url(file)}
    if as_json:
        give("schema/1", {"path": output, "headers": headers})
        return
    for file, header in headers.items():
        click.echo(f"{output}: for editors, the first line of {file} is\n{header}")


def _header(schema: Path, file: str) -> str:
    beside = os.path.relpath(schema, Path(file).parent).replace(os.sep, "/")
    return f"{_HEADER}{beside}"


def _refuse_other_files(output: Path | None) -> None:
    """End the command if the schema would be written over a file that is none."""
    if output is None:
        return
    with written(output):
        is_free = not output.exists() or (output.is_file() and _is_ours(output))
    if not is_free:
        message = f"{output}: this file is no schema that `lighter schema` wrote: it is not replaced"
        note_all([entry(USAGE, message, file=str(output))])
        print(message, file=sys.stderr)
        raise SystemExit(WRONG)


def _is_ours(path: Path) -> bool:
    """Return whether a file begins as our schemas do: another may well have the words in it."""
    from lighter.editor import MADE_BY

    with path.open("rb") as file:
        head = file.read(1000)
    return re.match(_HEAD % re.escape(MADE_BY.encode()), head) is not None


def _made(words: Sequence[str], safe: SafeMode | None) -> tuple[Mapping[str, Any], list[str]]:
    """Return the schema and the config's files; end the command if the config cannot be read."""
    from lighter.config import examine
    from lighter.processes.garbage_collection import without_collections
    from lighter.processes.streams import stdout_kept

    config, problems = examine(words, safe)
    # Of an untrusted config nothing is imported unless the first tier of the check finds no problem.
    if config is None or (config.safe is not None and problems):
        note(ConfigError(problems))
        _show(problems)
        raise SystemExit(WRONG)
    # what modules print while they are imported is no part of the schema
    with without_collections(), stdout_kept():
        from lighter.editor.schema import make_schema
        from lighter.engine.project import importable

        with importable(config, Path.cwd()):
            made = make_schema(config, words)
    count = len(problems) + len(made.problems)
    if count:
        said = "a problem, which" if count == 1 else f"{count} problems, which"
        print(f"The config has {said} `lighter check` shows. The schema has what can be had.", file=sys.stderr)
    return made.schema, made.files


def _show(problems: Sequence[Problem]) -> None:
    from lighter.config.problems import in_order

    print(f"{title(problems)}\n\n" + "\n\n".join(map(str, in_order(list(problems)))), file=sys.stderr)
