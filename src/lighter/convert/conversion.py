"""The order of a conversion: read the files, recognise their kind, convert the tree, write the text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lighter.config.problems import Problem
from lighter.config.tree import Node, Origin, Source
from lighter.convert import hydra, lighter_00, lighter_01, lightning_cli
from lighter.convert.gaps import Gap, Gaps, as_comments
from lighter.convert.hydra_compose import compose
from lighter.convert.lightning_script import read_script
from lighter.convert.reading import read_files
from lighter.convert.writing import text_of
from lighter.errors import ConfigError


@dataclass(frozen=True)
class Converted:
    """A converted config with its gaps; `kind` is what the source was."""

    kind: str
    sources: tuple[str, ...]
    tree: Node
    gaps: tuple[Gap, ...]

    @property
    def left(self) -> list[Gap]:
        """The gaps in which something is left to write by hand."""
        return [gap for gap in self.gaps if gap.is_open]

    def text(self) -> str:
        """Return the YAML of the config, what is left to do at the top."""
        head = [f"# Converted from {' '.join(self.sources)} ({self.kind})."]
        if self.left:
            head += ["#", "# Left to do:", *as_comments(self.left)]
        return text_of(self.tree, head, self.sources[0])


def convert(files: Sequence[Path], kind: str, words: Sequence[str] = (), folder: Path | None = None) -> Converted:
    """Return the conversion of files of one kind.

    Args:
        files: the files, in their order; of Hydra, the primary config first. Of LightningCLI, its script too.
        words: Hydra's overrides.
        folder: where the converted config will be; by default where the first file is.

    Raises:
        ConfigError: a file cannot be read, or is no YAML.
    """
    gaps = Gaps()
    try:
        tree = _tree(files, kind, words, folder or files[0].parent, gaps)
    except RecursionError:
        origin = Origin(Source(str(files[0]), is_unread=True))
        raise ConfigError([Problem("something in these files is nested too deep to be converted", origin)]) from None
    return Converted(kind, (*map(str, files), *words), tree, tuple(gaps))


def _tree(files: Sequence[Path], kind: str, words: Sequence[str], folder: Path, gaps: Gaps) -> Node:
    if kind == "hydra":
        return hydra.convert(compose(files, words, gaps), gaps)
    trees = read_files([file for file in files if file.suffix != ".py"])
    if kind == "lightning-cli":
        scripts = [read_script(file) for file in files if file.suffix == ".py"]
        return lightning_cli.convert(trees, scripts[0] if scripts else None, gaps)
    return lighter_00.convert(trees, folder, gaps) if kind == "lighter-0.0" else lighter_01.convert(trees, gaps)
