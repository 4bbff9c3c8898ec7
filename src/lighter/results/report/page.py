"""Write the data of a page as HTML: one file with its styles, scripts and data in it.

The policy in its head allows the scripts that are written here, by their hashes, and images within the file; nothing
else, so that no request can leave the page and no text of a run can ever run. The data is JSON in a block that is not
executed, with every `<` escaped; the script makes nodes of text, and never reads any of it as HTML.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from functools import cache
from pathlib import Path
from typing import Any

_ASSETS = Path(__file__).parent / "assets"
LIBRARY = _ASSETS / "plot.min.js"
DATA_ID = "lighter-report"
GENERATOR = '<meta name="generator" content="Lighter '
RELOAD_SECONDS = 10
# U+2028 and U+2029 end a line in old scripts, and `<` could end the block.
_ESCAPED = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
{generator}{version}">
{refresh}<title>{title}</title>
<link rel="icon" href="data:,">
<style>
{style}</style>
</head>
<body>
<header></header>
<nav aria-label="Sections"><div></div></nav>
<main></main>
<footer>
<p>Written by <code>lighter report</code> {version}. This file holds all of its data and asks no server for anything.
For programs it is JSON, in the element <code>{data_id}</code>.</p>
<noscript><p>The page is drawn by a script that is in this file; allow it to run.</p></noscript>
</footer>
<script type="application/json" id="{data_id}">{data}</script>
<script>{library}</script>
<script>{script}</script>
</body>
</html>
"""


def page(document: dict[str, Any], *, reloads: bool = False) -> str:
    """Return a page as HTML; one that `reloads` does so from disk, while what it shows goes on."""
    library, script = LIBRARY.read_text(encoding="utf-8"), own_script()
    return _PAGE.format(
        policy=_policy(library, script),
        generator=GENERATOR,
        version=html.escape(str(document["lighter"])),
        refresh=f'<meta http-equiv="refresh" content="{RELOAD_SECONDS}">\n' if reloads else "",
        title=html.escape(str(document["title"])),
        style=(_ASSETS / "report.css").read_text(encoding="utf-8"),
        data_id=DATA_ID,
        data=_json(document),
        library=library,
        script=script,
    )


@cache
def own_script() -> str:
    """Return our script, of the files that are in `assets/script`, in the order of their names."""
    parts = [path.read_text(encoding="utf-8") for path in sorted((_ASSETS / "script").glob("*.js"))]
    return '(() => {\n"use strict";\n' + "\n".join(parts) + "})();\n"


def _policy(*scripts: str) -> str:
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(each.encode()).digest()).decode()}'" for each in scripts
    )
    # Charts set styles of their own elements; what runs may name is never in one.
    allowed = (
        f"script-src {hashes}",
        "style-src 'unsafe-inline'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
    )
    return "; ".join(("default-src 'none'", *allowed))


def _json(document: dict[str, Any]) -> str:
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character, escape in _ESCAPED.items():
        text = text.replace(character, escape)
    return text.encode("utf-8", "replace").decode()  # halves of characters, which a name may have
