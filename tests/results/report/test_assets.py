"""The bundled chart library is the one that was tried, and comes with its licences."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from lighter.results.report import page

ASSETS = Path(page.__file__).parent / "assets"
BUNDLED = "877b256c7a330a5d19e74234034c2adbc02686267207e4186ee3b71931b98045"


def test_the_bundle_is_the_one_that_scripts_bundle_plot_makes() -> None:
    assert hashlib.sha256((ASSETS / "plot.min.js").read_bytes()).hexdigest() == BUNDLED


def test_it_calls_no_code_from_texts_and_names_no_address_but_those_of_xml() -> None:
    own = page.own_script()
    text = (ASSETS / "plot.min.js").read_text(encoding="utf-8") + own
    assert not re.search(r"\beval\(|new Function", text)
    assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write", own)  # D3 has it, for those who call it
    assert {*re.findall(r"https?://([^/\"'` ]*)", text)} <= {"www.w3.org"}
    assert "</script" not in text.lower()


def test_every_package_in_it_has_its_licence() -> None:
    text = (ASSETS / "plot.LICENSES.txt").read_text(encoding="utf-8")
    packages = re.findall(r"^={100}\n(\S+) \S+ \((.+)\)$", text, re.MULTILINE)
    assert len(packages) > 30
    assert {licence for _, licence in packages} <= {"ISC", "MIT", "BSD-3-Clause", "Unlicense"}
    assert {"@observablehq/plot", "d3", "internmap", "delaunator"} <= {name for name, _ in packages}
