"""`llms.txt`, an index of the site for language models, with each page as plain Markdown (https://llmstxt.org)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml


def files(pages: Mapping[str, str], settings: Path) -> dict[str, str]:
    """Return `llms.txt`, `llms-full.txt` with all guides, and `text/NAME.txt` for each page."""
    # the file has a tag of Python's for zensical, which is of no concern here
    config = yaml.load(re.sub(r"!!python/\S+", "", settings.read_text(encoding="utf-8")), yaml.SafeLoader)
    # where directives stand in the place of docstrings, there is nothing to read
    shown = {name: text for name, text in pages.items() if "\n::: " not in text}
    listed = [f"# {config['site_name']}\n\n> {config['site_description']}\n"]
    guides: list[str] = []
    for entry in config["nav"]:
        [(title, inside)] = entry.items()
        names = [name for name in _names(inside) if name in shown]
        guides += names if title in ("Guides", "Reference") else []
        listed.append(f"## {title}\n\n{''.join(_line(name, shown[name]) for name in names)}")
    return {
        "llms.txt": "\n".join(listed),
        "llms-full.txt": "\n\n".join(shown[name] for name in guides),
        **{f"text/{name.removesuffix('.md')}.txt": text for name, text in shown.items()},
    }


def _names(inside: Any) -> Iterator[str]:
    if isinstance(inside, str):
        yield inside
        return
    for item in inside.values() if isinstance(inside, dict) else inside:
        yield from _names(item)


def _line(name: str, text: str) -> str:
    title = re.search(r"^# (.+)$", text, re.MULTILINE)
    return f"- [{title[1] if title else name}](text/{name.removesuffix('.md')}.txt)\n"
