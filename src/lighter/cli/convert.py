"""`lighter convert`: a config of LightningCLI, Hydra or an earlier Lighter as one of ours, with a list of its gaps."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from lighter.cli.json_output import give
from lighter.cli.messages import mistakes_shown
from lighter.cli.options import as_json
from lighter.cli.outputs import named, written
from lighter.convert import KINDS

if TYPE_CHECKING:
    from lighter.convert.conversion import Converted

LEFT_TO_DO, WRONG = 1, 2
_FILE = click.Path(allow_dash=True)
_HELP = f"What they are for: {', '.join(KINDS)}. Otherwise it is recognised."


def known_kind(kind: str | None) -> str | None:
    """Return the kind that an option names, as it is spelled here; `click.Choice` would show it with underscores."""
    if kind is None or kind.replace("_", "-") in KINDS:
        return kind and kind.replace("_", "-")
    from lighter.config.problems import nearest

    raise click.BadParameter(f"`{kind}` is none of these. {nearest(kind, KINDS)}")


def _files(_: click.Context, __: click.Parameter, word: str) -> list[CompletionItem]:
    return [CompletionItem(word, type="file")]


def _kinds(_: click.Context, __: click.Parameter, word: str) -> list[CompletionItem]:
    return [CompletionItem(kind) for kind in KINDS if kind.startswith(word)]


@click.command()
@click.argument("inputs", nargs=-1, required=True, metavar="FILE...", shell_complete=_files)
@click.option(
    "--from", "kind", callback=lambda *given: known_kind(given[-1]), metavar="KIND", help=_HELP, shell_complete=_kinds
)
@click.option("-o", "--output", metavar="OUT.yaml", callback=named, type=_FILE, help="A new file; otherwise stdout.")
@as_json
def convert(inputs: tuple[str, ...], kind: str | None, output: Path | None, as_json: bool) -> None:
    """Convert configs of other tools to Lighter's.

    \b
      lighter convert config.yaml -o ours.yaml
      lighter convert config.yaml main.py -o ours.yaml
      lighter convert configs/train.yaml experiment=a -o ours.yaml

    Of LightningCLI, give its script too: it is read, not run. Of Hydra, the primary config, and overrides. Nothing of
    the project is imported. What cannot be converted is listed on stderr and at the top of the file.
    Exit code 0: nothing is left to do; 1: something is; 2: a file cannot be read or written.
    """
    if output is not None and output.exists():
        raise click.UsageError(f"{output} exists already, and is left as it is. Name another file")
    with mistakes_shown():
        converted = _converted(inputs, kind, output)
        text = converted.text()
    if output is not None:
        with written(output):
            _write_new(output, text)
    if as_json:
        give("convert/1", {**_as_data(converted, text), "output": output})
    else:
        _show(converted, text, output)
    raise SystemExit(LEFT_TO_DO if converted.left else 0)


def _write_new(output: Path, text: str) -> None:
    with output.open("x", encoding="utf-8") as file:
        try:
            file.write(text)
            file.flush()
        except OSError:  # a full disk; a part of a config would be in the way of the next try
            output.unlink()
            raise


def _converted(inputs: Sequence[str], kind: str | None, output: Path | None) -> Converted:
    from lighter.config.load import is_override, is_url
    from lighter.convert.conversion import convert as run
    from lighter.convert.reading import read_files
    from lighter.convert.recognition import kinds_of

    for word in filter(is_url, inputs):
        raise click.UsageError(f"{word}: a file is converted, and this is a URL. Download it first")
    words = [word for word in inputs if is_override(word)]
    files = [Path(word) for word in inputs if word not in words]
    if all(file.suffix == ".py" for file in files):
        raise click.UsageError("no config file is given")
    if kind is None:
        kinds = kinds_of(read_files([file for file in files if file.suffix != ".py"]))
        if len(kinds) != 1:
            why = f"it may be {' or '.join(kinds)}" if kinds else "nothing in it says what it was written for"
            raise click.UsageError(f"{files[0]}: {why}. Say it: --from {'|'.join(kinds or KINDS)}")
        kind = kinds[0]
    scripts = [file for file in files if file.suffix == ".py"]
    if len(scripts) > (kind == "lightning-cli"):
        raise click.UsageError(
            f"{scripts[0]}: of Python, the one script that calls LightningCLI is read, with its config"
        )
    if words and kind != "hydra":
        raise click.UsageError(f"`{words[0]}`: overrides are for Hydra, whose config groups they choose")
    return run(files, kind, words, output.parent if output is not None else None)


def _as_data(converted: Converted, text: str) -> dict[str, object]:
    from lighter.convert.gaps import as_data

    gaps = [as_data(gap) for gap in converted.gaps]
    return {"from": converted.kind, "config": converted.tree.plain(), "text": text, "gaps": gaps}


def _show(converted: Converted, text: str, output: Path | None) -> None:
    if output is None:
        print(text, end="", flush=True)
    notes = [gap for gap in converted.gaps if not gap.is_open]
    for gaps, title in ((notes, "Changed or left out"), (converted.left, "Left to do")):
        if gaps:
            print(f"{title}:\n\n" + "\n".join(map(str, gaps)) + "\n", file=sys.stderr)
    print(f"Now: lighter check {shlex.quote(str(output or 'OUT.yaml'))}", file=sys.stderr)
