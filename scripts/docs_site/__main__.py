"""Write `site/pages`, of which zensical makes `site/html`: `python -m scripts.docs_site [FOLDER]`."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from scripts.docs_site import api, commands, configuration, llms, pages

ROOT = Path(__file__).parents[2]


def write(folder: Path) -> None:
    """Write all pages into a folder, which is emptied before."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copytree(ROOT / "docs/images", folder / "images")
    made = {
        **pages.pages(ROOT),
        "reference-config.md": configuration.page(),
        "reference-commands.md": commands.page(),
        "reference-python.md": api.page(),
    }
    for name, text in {**made, **llms.files(made, ROOT / "mkdocs.yml")}.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "site/pages")
