"""The repository's Markdown as pages of the site, with links to where everything is there, and a page of each example.

Links of the repository are relative to its files, so that they work on GitHub. A file that is no Markdown and that a
page links to becomes a page that shows it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from lighter.cli.init import TEMPLATES

# Pages outside of docs/, with their names on the site.
_OTHERS = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "ARCHITECTURE.md": "architecture.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "benchmarks/RESULTS.md": "benchmarks.md",
}
_FENCE = re.compile(r"^(`{3,}|~{3,}).*?^\1$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(\]\()([^)\s]+)(\))")
_LANGUAGES = {".py": "python", ".yaml": "yaml", ".md": "markdown"}


def pages(root: Path) -> dict[str, str]:
    """Return the text of each page by its name on the site."""
    sources = {str(path.relative_to(root)): path.name for path in sorted((root / "docs").glob("*.md"))}
    sources |= _OTHERS
    shown: set[str] = set()
    made = {name: _relinked(root, source, sources, shown) for source, name in sources.items()}
    made |= {f"example-{folder.name}.md": _example(folder) for folder in examples(root)}
    return {**made, **{_page_of_file(path): _file_page(root / path, path) for path in sorted(shown)}}


def examples(root: Path) -> list[Path]:
    return sorted({path.parent for path in root.glob("examples/*/*.yaml")})


def without_fences(text: str) -> Iterator[tuple[str, bool]]:
    """Yield the parts of a page, and whether each is prose and no fenced block."""
    end = 0
    for fence in _FENCE.finditer(text):
        yield text[end : fence.start()], True
        yield fence[0], False
        end = fence.end()
    yield text[end:], True


def _relinked(root: Path, source: str, sources: dict[str, str], shown: set[str]) -> str:
    def link(match: re.Match[str]) -> str:
        path, mark, anchor = match[2].partition("#")
        if not path or re.match(r"[a-z]+:", path):
            return match[0]
        target = os.path.normpath(os.path.join(os.path.dirname(source), path))
        return f"{match[1]}{_address(root, target, sources, shown)}{mark}{anchor}{match[3]}"

    text = (root / source).read_text(encoding="utf-8")
    return "".join(_LINK.sub(link, part) if is_prose else part for part, is_prose in without_fences(text))


def _address(root: Path, target: str, sources: dict[str, str], shown: set[str]) -> str:
    if target in sources:
        return sources[target]
    first, _, rest = target.partition("/")
    if first == "docs":  # a picture
        return rest
    if first == "examples":
        folder, _, file = rest.partition("/")
        return f"example-{folder}.md#{slug(file)}" if file else f"example-{folder}.md"
    if not (root / target).is_file():
        raise FileNotFoundError(f"a page links to {target}, which is no file of the repository")
    shown.add(target)
    return _page_of_file(target)


def slug(heading: str) -> str:
    """Return the anchor of a heading, as GitHub and the site make it."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def _example(folder: Path) -> str:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix in _LANGUAGES]
    files.sort(key=lambda path: path.name != "config.yaml")
    blocks = [f"## {path.relative_to(folder)}\n\n{_fenced(path)}" for path in files]
    templates = [f"`lighter init my-project --from {name}`" for name, (of, _) in TEMPLATES.items() if of == folder.name]
    about = [f"{command} makes a project of your own of it.\n" for command in templates]
    return "\n".join([f"# Example: {folder.name}\n", *about, *blocks])


def _file_page(path: Path, name: str) -> str:
    return f"# {name}\n\n{_fenced(path)}"


def _fenced(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    return f"````{_LANGUAGES.get(path.suffix, 'text')}\n{text.rstrip()}\n````\n"


def _page_of_file(path: str) -> str:
    return "file-" + re.sub(r"[^\w.]+", "-", path).removesuffix(".txt").lower() + ".md"
