"""The code that a run ran: the commit, what was changed since, and the source files that git does not know."""

from __future__ import annotations

import hashlib
import subprocess
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from lighter.runs.secrets import Secrets

MOST_OF_PATCH = 10 * 2**20
MOST_OF_FILE = 2**20
MOST_OF_FILES = 10 * 2**20
_SOURCES = {
    *(".py", ".pyi", ".pyx", ".yaml", ".yml", ".toml", ".json", ".cfg", ".ini", ".txt", ".sh", ".sql", ".jinja"),
    *(".c", ".cc", ".cpp", ".cu", ".cuh", ".h", ".hpp"),
}
_CODE = (".py", ".pyi", ".pyx", ".c", ".cc", ".cpp", ".cu", ".cuh", ".h", ".hpp")
_SECONDS = 30


@dataclass
class Source:
    """The state of a checkout, without secrets."""

    root: Path
    commit: str | None  # None where there is none yet
    patch: str = ""  # what `git diff` says against the commit
    untracked: dict[str, str] = field(default_factory=dict)  # texts by their path from the root
    redacted: list[str] = field(default_factory=list)  # the files in which a secret was left out
    left_out: list[str] = field(default_factory=list)  # what was too large to be kept, and why

    @property
    def digest(self) -> str:
        """A hash of the code, but for what is left out of it."""
        hashed = hashlib.sha256(f"{self.commit}\0{self.patch}".encode(errors="surrogateescape"))
        for name, text in sorted(self.untracked.items()):
            hashed.update(f"\0{name}\0{text}".encode(errors="surrogateescape"))
        return hashed.hexdigest()


def git(folder: Path, *words: str, text: str | None = None) -> str:
    """Run a git command, and return what it prints.

    Raises:
        OSError: there is no git.
        subprocess.SubprocessError: it failed, or took too long.
    """
    run = subprocess.run(
        ["git", "-C", str(folder), "-c", "core.quotePath=false", *words],
        input=text.encode(errors="surrogateescape") if text is not None else None,
        capture_output=True,
        timeout=_SECONDS,
        check=True,
    )
    return run.stdout.decode(errors="surrogateescape")


_kept: list[Source | None] = []


def keep_source(folder: Path, secrets: Secrets, *, without: Path) -> None:
    """Let `source_of` return what it does now, here and in processes that are forked: their code is imported now."""
    _kept[:] = [source_of(folder, secrets, without=without)]


def source_of(folder: Path, secrets: Secrets, *, without: Path) -> Source | None:
    """Return the state of the checkout that a folder is in, without the folder of the runs; None if it is in none."""
    if _kept:
        return _kept[0]
    try:
        root = Path(git(folder, "rev-parse", "--show-toplevel").rstrip("\n"))
    except (OSError, subprocess.SubprocessError):
        return None
    source = Source(root, None)
    with suppress(subprocess.SubprocessError):  # nothing was committed yet
        source.commit = git(root, "rev-parse", "--verify", "HEAD").strip()
    if source.commit is not None:
        _add_patch(source, secrets)
    _add_untracked(source, secrets, without.resolve())
    return source


def _add_patch(source: Source, secrets: Secrets) -> None:
    # whatever the user's own configuration of git is
    plain = ("--no-color", "--no-ext-diff", "--no-textconv", "--no-renames", "--src-prefix=a/", "--dst-prefix=b/")
    patch = git(source.root, "diff", "HEAD", "--binary", *plain)
    if len(patch) > MOST_OF_PATCH:
        source.left_out.append(f"the uncommitted changes: {len(patch) / 2**20:.0f} MB")
        return
    # file by file: what is a secret depends on whether it is code
    parts = patch.split("\ndiff --git ")
    for index, part in enumerate(parts):
        name = part.split("\n")[0].rpartition(" b/")[2]
        parts[index] = secrets.text(part, is_code=name.endswith(_CODE))
        if parts[index] != part:
            source.redacted.append(name)
    source.patch = "\ndiff --git ".join(parts)


def _add_untracked(source: Source, secrets: Secrets, runs: Path) -> None:
    total = 0  # bytes: the folder may hold more small files than anybody wants in a run's folder
    for name in git(source.root, "ls-files", "--others", "--exclude-standard", "-z").split("\0"):
        path = source.root / name
        is_source = path.suffix in _SOURCES and not path.is_symlink() and path.is_file()
        if not is_source or runs in path.resolve().parents:
            continue
        size = path.stat().st_size
        total += size if size <= MOST_OF_FILE else 0
        if size > MOST_OF_FILE or total > MOST_OF_FILES:
            source.left_out.append(f"{name}: {size / 2**20:.1f} MB")
            continue
        try:
            text = path.read_bytes().decode()
        except UnicodeDecodeError:  # a secret in it could not be found
            continue
        source.untracked[name] = secrets.text(text, is_code=name.endswith(_CODE))
        if source.untracked[name] != text:
            source.redacted.append(name)
