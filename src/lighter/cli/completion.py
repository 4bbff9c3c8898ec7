"""`lighter completion SHELL`, and what a shell completes: override paths of the config, runs, experiments.

Click completes commands and options. A shell calls `lighter` once more for each TAB, so nothing heavy is imported here.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
    split_arg_string,
)

if TYPE_CHECKING:
    from lighter.config.tree import Node

Items = list[CompletionItem[str]]

_MOST = 50  # runs
_MOST_CONFIGS = 5
_VARIABLE = "_LIGHTER_COMPLETE"

# Click's scripts split words at `:` and `=`, as these shells do, and add a space after each completion. So the whole
# line is passed on, and what ends in `:` or `=` goes on without a space.
_BASH = """\
%(complete_func)s() {
    local IFS=$'\\n' line
    COMPREPLY=()
    for line in $(COMP_LINE="${COMP_LINE:0:COMP_POINT}" _LIGHTER_WORDBREAKS="$COMP_WORDBREAKS" \\
            %(complete_var)s=bash_complete "$1" 2>/dev/null); do
        case $line in
            file,*) compopt -o default ;;
            dir,*) compopt -o dirnames ;;
            *) COMPREPLY+=("${line#*,}"); [[ $line == *[:=] ]] && compopt -o nospace ;;
        esac
    done
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""
_ZSH = """\
#compdef %(prog_name)s
%(complete_func)s() {
    local line
    local -a open closed
    for line in ${(f)"$(COMP_WORDS="${(j: :)words[1,CURRENT]}" COMP_CWORD=$((CURRENT-1)) \\
            %(complete_var)s=zsh_complete ${words[1]} 2>/dev/null)"}; do
        case $line in
            file,*) _files ;;
            dir,*) _files -/ ;;
            *[:=]) open+=("${line#*,}") ;;
            *) closed+=("${line#*,}") ;;
        esac
    done
    (( $#open )) && compadd -U -V unsorted -S '' -a open
    (( $#closed )) && compadd -U -V unsorted -a closed
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    %(complete_func)s "$@"
else
    compdef %(complete_func)s %(prog_name)s
fi
"""


class _Bash(BashComplete):
    source_template = _BASH

    def get_completion_args(self) -> tuple[list[str], str]:
        line = os.environ["COMP_LINE"]
        words = split_arg_string(line)[1:]
        return words, "" if not words or line[-1].isspace() else words.pop()

    def format_completion(self, item: CompletionItem[str]) -> str:
        word, quote = self.get_completion_args()[1], _open_quote(os.environ["COMP_LINE"])
        # bash replaces what follows the last of these in the word, or all of a quoted one
        breaks = "" if quote else os.environ.get("_LIGHTER_WORDBREAKS", "")
        start = max((word.rfind(mark) + 1 for mark in ":=" if mark in breaks), default=0)
        return f"{item.type},{_quoted(_whole(item.value, word)[start:], quote)}"


class _Zsh(ZshComplete):
    source_template = _ZSH

    def format_completion(self, item: CompletionItem[str]) -> str:
        return f"{item.type},{_whole(item.value, self.get_completion_args()[1])}"


class _Fish(FishComplete):
    def format_completion(self, item: CompletionItem[str]) -> str:
        return f"{item.type},{_whole(item.value, self.get_completion_args()[1])}"


def _whole(value: str, word: str) -> str:
    """Return a completion as it stands for the word: click completes of `--option=value` the value alone."""
    option, equals, _ = word.partition("=")
    return f"{option}={value}" if equals and option.startswith("-") and not value.startswith(option) else value


def _open_quote(line: str) -> str:
    """Return the quote that a line of a shell is within at its end, or nothing."""
    quote, is_escaped = "", False
    for sign in line:
        if is_escaped:
            is_escaped = False
        elif sign == "\\" and quote != "'":
            is_escaped = True
        elif sign == quote:
            quote = ""
        elif not quote and sign in "'\"":
            quote = sign
    return quote


def _quoted(text: str, quote: str) -> str:
    """Return a text as bash reads it back: a config must not choose what a shell runs."""
    if quote == "'":
        return text.replace("'", "'\\''")
    marks = r'(["\\$`!])' if quote else r"([^\w@%+=:,./~-])"
    return re.sub(marks, r"\\\1", text)


SHELLS: dict[str, type[ShellComplete]] = {"bash": _Bash, "zsh": _Zsh, "fish": _Fish}

if _VARIABLE in os.environ:
    for _shell in SHELLS.values():
        add_completion_class(_shell)


@click.command()
@click.argument("shell", type=click.Choice(list(SHELLS)))
def completion(shell: str) -> None:
    """Print the script that completes commands, options, files, runs and the paths of a config.

    \b
    In a file that the shell reads when it starts, such as ~/.bashrc:
      source <(lighter completion bash)
      source <(lighter completion zsh)
      lighter completion fish | source
    """
    root = click.get_current_context().find_root().command
    click.echo(SHELLS[shell](root, {}, "lighter", _VARIABLE).source(), nl=False)


def of_inputs(context: click.Context, parameter: click.Parameter, word: str) -> Items:
    """Complete a config file, or an override by the paths and values of the configs before it."""
    words = [str(each) for each in context.params.get(parameter.name or "") or ()]
    files: Items = [] if "::" in word or (word[:1] in "=~" and word) else [CompletionItem(word, type="file")]
    return [*files, *map(CompletionItem, _overrides(words, word))]


def of_key(context: click.Context, parameter: click.Parameter, word: str) -> Items:
    """Complete a path of the config. It is written before the config is named: those of this folder are searched."""
    named = [str(each) for each in context.params.get("inputs") or ()]
    roots = filter(None, map(_merged, [named] if named else _configs_here()))
    found = (
        f"{path}::" if isinstance(child.value, (dict, list)) and child.value else path
        for root in roots
        for path, child in _paths(root, word)
    )
    return [*map(CompletionItem, dict.fromkeys(found))]


def of_checkpoints(context: click.Context, parameter: click.Parameter, word: str) -> Items:
    """Complete `last`, `best`, or a file."""
    return [*_beginning(["last", "best"], word), CompletionItem(word, type="file")]


def of_runs(context: click.Context, parameter: click.Parameter, word: str) -> Items:
    """Complete the id of a run, the newest first, or a path."""
    return [*_beginning(["last", *_ids(context, "")], word), CompletionItem(word, type="file")]


def of_results(context: click.Context, parameter: click.Parameter, word: str) -> Items:
    """Complete the id of an experiment or of a run, the newest first, or a path."""
    names = ["last", *_ids(context, "experiments"), *_ids(context, "")]
    return [*_beginning(names, word), CompletionItem(word, type="file")]


def of_experiments(context: click.Context, parameter: click.Parameter, word: str) -> Items:
    """Complete the id of an experiment, the newest first, or a path."""
    return [*_beginning(["last", *_ids(context, "experiments")], word), CompletionItem(word, type="dir")]


def _beginning(names: list[str], word: str) -> Items:
    return [CompletionItem(name) for name in names if name.startswith(word)]


def _ids(context: click.Context, below: str) -> list[str]:
    from lighter.files.run_folder import all_runs

    root = Path(context.params.get("root") or "outputs") / below
    return [folder.id for folder in islice(all_runs(root), _MOST)]


def _overrides(inputs: list[str], word: str) -> Iterator[str]:
    root = _merged(inputs)
    if root is None:
        return
    mark = word[:1] if word[:1] in ("=", "~") else ""
    path, has_value, value = word[len(mark) :].partition("=")
    if has_value:
        yield from (f"{mark}{path}={each}" for each in _values(root.find(path)) if each.startswith(value))
        return
    for each, child in _paths(root, path):
        ends = "::" if isinstance(child.value, (dict, list)) and child.value else "" if mark == "~" else "="
        yield f"{mark}{each}{ends}"


def _paths(root: Node, begin: str) -> Iterator[tuple[str, Node]]:
    """Yield the paths that begin so, one step further."""
    above, separator, last = begin.rpartition("::")
    node = root.find(above) if separator else root
    for key, child in node.children() if node is not None else ():
        if str(key).startswith(last) and str(key).isprintable():
            yield f"{above}{separator}{key}", child


def _configs_here() -> list[list[str]]:
    """Return `config.yaml`, or the few YAML files of the folder."""
    files = sorted(str(path) for path in Path().glob("*.y*ml"))
    return [["config.yaml"]] if "config.yaml" in files else [[file] for file in files[:_MOST_CONFIGS]]


def _values(node: Node | None) -> list[str]:
    """Return what a value may be replaced by: it itself, to be edited, and the other of two truths."""
    if node is None or isinstance(node.value, (dict, list)):
        return []
    if isinstance(node.value, bool):
        return ["true", "false"]
    import yaml

    text = yaml.safe_dump(node.value, allow_unicode=True, width=math.inf).removesuffix("...\n").strip()
    return [text] if text.isprintable() else []


def _merged(inputs: list[str]) -> Node | None:
    """Return the config so far; None if there is none that can be read. Nothing is fetched from elsewhere."""
    from lighter.config.load import is_override, is_url, load

    # files alone: an override that is not finished would be a mistake
    written = [os.path.expandvars(os.path.expanduser(each)) for each in inputs]
    files = [each for each in written if not is_url(each) and not is_override(each)]
    with suppress(Exception):  # a shell has no place for messages
        return load(files) if files else None
    return None
