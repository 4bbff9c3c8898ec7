"""The facts in `export.json`."""

from __future__ import annotations

from pathlib import Path

from lighter.exporting.record import sha256_of


def test_the_hash_of_a_folder_is_that_of_its_names_and_contents(tmp_path: Path) -> None:
    """A sharded checkpoint is a folder."""
    shards = [tmp_path / name for name in ("one", "same", "renamed", "changed")]
    for folder, name, content in zip(shards, "aaba", ("x", "x", "x", "y"), strict=True):
        (folder / "inner").mkdir(parents=True)
        (folder / "inner" / name).write_text(content)
    one, same, renamed, changed = map(sha256_of, shards)
    assert one == same
    assert len({one, renamed, changed}) == 3
