"""The documentation site: all that there is has a page, no link is dead, and it asks nobody else for anything."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pytest

from lighter.config.check.sections import SECTIONS
from tests.results.report.browser import CHROMIUM, Browser

ROOT = Path(__file__).parents[1]
SETTINGS = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
ZENSICAL = shutil.which("zensical", path=str(Path(sys.executable).parent))

needs_zensical = pytest.mark.skipif(ZENSICAL is None, reason="there is no zensical here: pip install lighter[docs]")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")


def test_every_page_is_in_the_navigation() -> None:
    listed = set(re.findall(r"(\S+\.md)$", SETTINGS, re.MULTILINE))
    pages = {path.name for path in (ROOT / "docs").glob("*.md")}
    examples = {f"example-{path.parent.name}.md" for path in ROOT.glob("examples/*/config.yaml")}
    assert len(pages) >= 17
    assert len(examples) >= 10
    assert pages | examples <= listed


def test_the_glossary_is_in_order() -> None:
    terms = re.findall(r"^\| ([\w ,]+) \|", (ROOT / "docs/glossary.md").read_text(encoding="utf-8"), re.MULTILINE)[1:]
    assert len(terms) >= 25
    assert terms == sorted(terms)


class Page(HTMLParser):
    """The links and anchors of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {key: value for key, value in attrs if value}
        self.anchors |= {named[key] for key in ("id", "name") if key in named}
        links = [named[key] for key in ("href", "src") if key in named]
        self.links += links
        self.loaded += links if tag != "a" else []


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site, without a word of warning."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "mkdocs.yml").write_text(SETTINGS.replace("paths: [src]", f"paths: [{ROOT / 'src'}]"), encoding="utf-8")
    for command in ([sys.executable, "-m", "scripts.docs_site", str(folder / "site/pages")], None):
        words = command or [str(ZENSICAL), "build", "--strict", "--config-file", str(folder / "mkdocs.yml")]
        done = subprocess.run(words, cwd=ROOT if command else folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "warning" not in (done.stdout + done.stderr).lower()
    return folder / "site/html"


@pytest.mark.long
@needs_zensical
def test_no_link_is_dead_and_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    pages = {path: Page(path) for path in site.rglob("*.html")}
    assert len(pages) > 35
    outside = {link for page in pages.values() for link in page.links if re.match(r"(https?:)?//", link)}
    assert not outside & {link for page in pages.values() for link in page.loaded}
    assert len(outside) >= 5
    dead = [
        (path.name, link) for path, page in pages.items() for link in page.links if is_dead(link, path, site, pages)
    ]
    assert dead == []


def is_dead(link: str, path: Path, site: Path, pages: dict[Path, Page]) -> bool:
    if re.match(r"[a-z]+:|//", link):
        return False
    name, _, anchor = unquote(link).partition("#")
    base = site / name.lstrip("/") if name.startswith("/") else path.parent / name
    target = Path(base.resolve()) if name else path
    is_missing = not target.is_file() and not (target / "index.html").is_file()
    return is_missing or (bool(anchor) and target in pages and anchor not in pages[target].anchors)


@pytest.mark.long
@needs_zensical
def test_the_references_have_all_keys_commands_and_names(site: Path) -> None:
    config = (site / "text/reference-config.txt").read_text(encoding="utf-8")
    assert [key for key in SECTIONS if f"\n### `{key}`\n" not in config] == []
    for text in (
        "**`search::space`**",
        "**`fold`** (`int`, default `0`)",
        "**`optimizer`** (`object`, default `null`)<br>in a config, its definition.",
        "**`exact_resume`** (`bool`, default `true`)",
        "**`max_epochs`**",
        "**`until_epoch`**",
        "**`pred_argument`**",
    ):
        assert text in config
    commands = (site / "text/reference-commands.txt").read_text(encoding="utf-8")
    assert {"### lighter fit", "### lighter runs diff", "### lighter report"} <= set(commands.splitlines())
    api = Page(site / "reference-python.html")
    assert {"lighter.runs.handle.Run.history", "lighter.errors.ConfigError"} <= api.anchors
    index = (site / "llms.txt").read_text(encoding="utf-8")
    texts = re.findall(r"\]\((\S+)\)", index)
    assert len(texts) > 30
    assert all((site / text).is_file() for text in texts)
    assert "# Quickstart" in (site / "llms-full.txt").read_text(encoding="utf-8")


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Write no line for each request."""


@pytest.fixture
def address(site: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()


def visit(browser: Browser, url: str) -> None:
    browser.call("Page.navigate", url=url)
    wait_for(browser, f"document.readyState === 'complete' && location.href === {url!r}")
    browser.settle()


def wait_for(browser: Browser, condition: str) -> None:
    end = time.monotonic() + 60
    while not browser.run(condition):
        assert time.monotonic() < end, condition
        time.sleep(0.1)


@pytest.mark.long
@needs_zensical
@needs_chromium
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_it_is_read_and_searched_in_a_browser(address: str, width: int, dark: bool) -> None:
    with Browser(width, dark=dark) as browser:
        for name in ("index", "02-configuration", "reference-config", "reference-python"):
            visit(browser, f"{address}{name}.html")
            assert browser.run("document.documentElement.scrollWidth") <= width
        shown = browser.run("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(float, re.findall(r"[\d.]+", shown)[:3])) < 200) == dark
        search(browser, "parameter groups")
        assert {request for request in browser.requests if not request.startswith((address, "data:", "blob:"))} == set()
        assert browser.errors == []


def search(browser: Browser, words: str) -> None:
    """Search as a reader does; the first result leads to the section of this heading."""
    browser.run("document.querySelector('.md-search__button').click()")
    # the dialog is in a shadow root
    wait_for(browser, "document.activeElement?.shadowRoot?.activeElement?.tagName === 'INPUT'")
    browser.call("Input.insertText", text=words)
    first = "document.activeElement?.shadowRoot?.querySelector('[role=listbox] a')?.href"
    wait_for(browser, f"{first} !== undefined")
    assert browser.run(first).endswith("#" + words.replace(" ", "-"))
