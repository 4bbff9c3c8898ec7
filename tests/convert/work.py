"""What the tests of `lighter convert` share: projects to convert, and the command."""

from __future__ import annotations

import shutil
from pathlib import Path

from click.testing import CliRunner, Result

from lighter.cli import cli
from lighter.config import yaml
from lighter.config.tree import Node, Source
from lighter.convert.conversion import Converted, convert
from lighter.convert.gaps import Gap

PROJECTS = Path(__file__).with_name("projects")


def run(command: str, *words: str) -> Result:
    return CliRunner().invoke(cli, [command, *words])


def check(*words: str) -> str:
    """What `lighter check` finds: nothing, if a converted config is right."""
    result = run("check", *words)
    return "" if result.exit_code == 0 else result.stderr


def project(name: str, folder: Path) -> None:
    """Copy a project into a folder, the working directory."""
    shutil.copytree(PROJECTS / name, folder, dirs_exist_ok=True)


def from_text(kind: str, *texts: str, folder: Path, words: tuple[str, ...] = ()) -> Converted:
    """The conversion of some YAML texts."""
    files = [folder / f"{'abc'[number]}.yaml" for number in range(len(texts))]
    for file, text in zip(files, texts, strict=True):
        file.write_text(text, encoding="utf-8")
    return convert(files, kind, words)


def places(gaps: list[Gap] | tuple[Gap, ...]) -> list[tuple[str, str]]:
    """Each gap's place, as file:line:column, and its path."""
    return [(str(gap.origin or ""), gap.path) for gap in gaps]


def read(text: str) -> Node:
    problems: list = []
    tree = yaml.parse(Source("text", text), problems)
    assert not problems
    assert tree is not None
    return tree
