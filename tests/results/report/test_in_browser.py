"""The page in headless Chromium: what a reader sees and does, and the figures that it has to keep."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from lighter.experiments.folder import find_experiment
from lighter.experiments.status import read_experiment
from lighter.results.report.subject import find_subject
from lighter.results.report.watch import write_page
from tests.results.report.browser import CHROMIUM, Browser
from tests.results.report.jobs import evaluation, make_fit, make_search, write_evaluation, write_picture
from tests.runs.jobs import make_runs

pytestmark = [pytest.mark.long, pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")]
EVIL = "</script><script>window.evil=1</script><img src=x onerror=window.evil=1>"
FILTER = """(async () => {
  const box = document.querySelector("input[type=search]"), start = performance.now();
  box.value = %r;
  box.dispatchEvent(new Event("input"));
  await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
  return [performance.now() - start, document.querySelector("#runs [role=status]").textContent];
})()"""
OVERFLOWING = """[...document.querySelectorAll("main *, header *")].filter(node =>
  node.getBoundingClientRect().right > innerWidth + 1 && !node.closest(".scroll, details, svg"))
  .map(node => node.outerHTML.slice(0, 120))"""


def written(root: Path, *words: str) -> Path:
    path = root / "page.html"
    write_page(find_subject(words, root), path)
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with everything on it: a search, runs with seeds, an evaluation, pictures, a failure, hostile names."""
    root = tmp_path_factory.mktemp("whole")
    runs = [make_fit(root, number, seed=number % 3, lr=0.1 if number < 3 else 0.01, points=600) for number in range(6)]
    for run in runs[:2]:
        write_evaluation(run, evaluation(classes=[EVIL, "dog"]), scores=[0.0, -1.0])
        write_picture(run, 40)
    error = {"type": "ValueError", "message": EVIL}
    failed = make_fit(root, 50, name=EVIL, status="failed", error=error, metrics={})
    (failed / "config.yaml").write_text("seed: 1\nmodel: {_target_: '" + EVIL + "'}\n")
    make_search(root)
    return written(root, "sweep", *map(str, [*runs, failed]))


def test_it_asks_nobody_for_anything_and_says_nothing_in_the_console(whole: Path) -> None:
    with Browser() as browser:
        browser.open(whole)
        assert browser.run("document.documentElement.dataset.ready") == "yes"
        assert [url for url in browser.requests if not url.startswith("data:")] == [whole.as_uri()]
        assert browser.errors == []
        titles = browser.run("[...document.querySelectorAll('h2')].map(node => node.textContent)")
        assert titles == ["Findings", "Runs", "Curves", "Search", "Predictions", "Pictures", "Differences", "Resources"]
        assert browser.run("[...document.querySelectorAll('figure svg')].every(svg => svg.getAttribute('aria-label'))")
        assert browser.run("document.querySelectorAll('figure svg').length") >= 10


def test_names_of_strangers_are_texts(whole: Path) -> None:
    with Browser() as browser:
        browser.open(whole)
        assert browser.run("window.evil") is None
        assert browser.run("document.querySelectorAll('body > script').length") == 3
        assert EVIL in browser.run("document.querySelector('.error').textContent")


def test_a_request_that_a_page_would_make_is_refused(whole: Path) -> None:
    with Browser() as browser:
        browser.open(whole)
        refused = "fetch('http://127.0.0.1:9/x').then(() => 'sent', error => String(error))"
        assert "TypeError" in browser.run(refused)
        assert any("Content Security Policy" in error for error in browser.errors)


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits_the_screen_in_light_and_dark(whole: Path, width: int, dark: bool) -> None:
    with Browser(width, dark=dark) as browser:
        browser.open(whole)
        assert browser.run(OVERFLOWING) == []
        assert browser.run("document.documentElement.scrollWidth") == width
        colours = browser.run(
            "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
        )
        assert (luminance(colours[0]) < luminance(colours[1])) == dark
        assert abs(luminance(colours[0]) - luminance(colours[1])) > 180


def luminance(colour: str) -> float:
    return sum(map(float, colour.strip("rgb()").split(",")[:3])) / 3


def test_it_prints_in_light_colours(whole: Path) -> None:
    with Browser(dark=True) as browser:
        browser.open(whole)
        assert browser.printed().startswith(b"%PDF")
        browser.call("Emulation.setEmulatedMedia", media="print")
        assert luminance(browser.run("getComputedStyle(document.body).backgroundColor")) == 255
        assert browser.run("getComputedStyle(document.querySelector('nav')).display") == "none"


def focused(browser: Browser) -> str:
    return str(browser.run("document.activeElement.textContent || document.activeElement.type"))


def test_the_keyboard_reaches_and_works_everything(whole: Path) -> None:
    with Browser() as browser:
        browser.open(whole)
        reached = []
        for _ in range(60):
            browser.press("Tab")
            reached.append(focused(browser))
        assert {"Findings", "search", "Columns", "val/loss", "checkbox", "range"} <= set(reached)
        browser.run(
            "[...document.querySelectorAll('#runs thead button')].find(node => node.textContent === 'val/loss').focus()"
        )
        browser.press("Enter")
        assert browser.run("document.querySelector('#runs th[aria-sort=ascending]').textContent") == "val/loss"
        values = browser.run(
            "[...document.querySelectorAll('#runs tbody tr td.best')].map(node => node.parentNode.rowIndex)"
        )
        assert 1 in values
        lines = "document.querySelectorAll('#curves svg [aria-label=line] path').length"
        before = browser.run(lines)
        browser.run("document.querySelector('#curves .legend button').focus()")
        browser.press(" ")
        assert browser.run("document.activeElement.getAttribute('aria-pressed')") == "false"
        assert browser.run(lines) < before


def test_pointing_at_a_curve_shows_its_value(whole: Path) -> None:
    with Browser() as browser:
        browser.open(whole)
        browser.run("document.querySelector('#curves').scrollIntoView()")
        browser.settle()
        box = browser.run(
            "(() => { const box = document.querySelector('#curves svg [aria-label=line] path').getBoundingClientRect();"
            " return [box.left + box.width * 0.6, box.top + box.height * 0.8]; })()"
        )
        for dy in range(-60, 61, 12):
            browser.hover(box[0], box[1] + dy)
            shown = browser.run("document.querySelector('#curves [aria-label=tip]').textContent")
            if shown:
                break
        assert "step " in shown


def test_choices_of_curves(whole: Path) -> None:
    with Browser() as browser:
        browser.open(whole)

        def lines() -> int:
            return int(
                browser.run("document.querySelectorAll('#curves figure:first-child svg [aria-label=line] path').length")
            )

        means = lines()
        browser.run("[...document.querySelectorAll('#curves .choice button')].at(-1).click()")
        assert lines() > means
        browser.run("document.querySelector('#curves input[type=checkbox]').click()")
        slide = "(() => { const box = document.querySelector('#curves input[type=range]'); box.value = 0.9;"
        browser.run(slide + " box.dispatchEvent(new Event('input')); })()")
        assert browser.run("document.querySelector('#curves output').textContent") == "0.9"
        assert browser.errors == []


def test_ten_thousand_runs_are_filtered_in_two_tenths_of_a_second(tmp_path: Path) -> None:
    make_runs(tmp_path, 10_000)
    page = written(tmp_path)
    with Browser() as browser:
        browser.open(page)
        browser.run(FILTER % "warm")
        results = {word: browser.run(FILTER % word) for word in ("01-05", "m3<100", "status=failed", "")}
        assert [text for _, text in results.values()][1:] == ["400 of 10,000 runs", "0 of 10,000 runs", "10,000 runs"]
        assert min(seconds for seconds, _ in results.values()) < 200
        assert sorted(seconds for seconds, _ in results.values())[2] < 200  # one of four may wait for another process
        assert browser.run("document.querySelectorAll('#runs tbody tr').length") < 60
        browser.run("document.querySelector('#runs .scroll').scrollTop = 1e7")
        browser.settle()
        assert "2026-01-01/10-00-00-digits" in browser.run("document.querySelector('#runs tbody').textContent")
        assert browser.errors == []


@pytest.fixture(params=["nothing", "running", "no experiment result", "failed"])
def poor(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    kind, words = request.param, ()
    if kind == "running":
        make_fit(tmp_path, 0, status="running", metrics={}, points=0)
    elif kind == "failed":
        make_fit(tmp_path, 0, status="failed", metrics={}, error={"type": "ValueError", "message": "a bad value"})
    elif kind == "no experiment result":
        (make_search(tmp_path, trials=1) / "trial-0000-seed-1" / "run.json").unlink()
        words = ("sweep",)
    else:
        (tmp_path / "outputs").mkdir()
    return kind, written(tmp_path, *words)


def test_a_page_of_little_is_a_page(poor: tuple[str, Path]) -> None:
    kind, page = poor
    with Browser() as browser:
        browser.open(page)
        assert browser.errors == []
        text: Any = browser.run("document.body.innerText")
        assert {"nothing": "0 runs", "running": "running", "failed": "a bad value"}.get(kind, "sweep") in text


def text_of(page: Path, expression: str = "document.body.innerText") -> Any:
    with Browser() as browser:
        browser.open(page)
        assert browser.errors == []
        return browser.run(expression)


def test_a_malformed_evaluation_hides_nothing_else(tmp_path: Path) -> None:
    runs = [make_fit(tmp_path, number, lr=0.1 / (number + 1)) for number in range(2)]
    broken = evaluation(
        classes={"a": 1}, roc=[None, 3], per_class={"f1": 3}, confusion=[[1, 2], [None, "x"]], metrics=[1]
    )
    write_evaluation(runs[0], {**broken, "precision_recall": [{"precision": {}, "recall": []}]})
    write_evaluation(runs[1], evaluation(calibration={"confidence": [0.5], "accuracy": [0.5], "count": 3}))
    headings = "[...document.querySelectorAll('h2')].map(node => node.textContent)"
    assert {"Predictions", "Differences", "Resources"} <= set(text_of(written(tmp_path), headings))


def test_what_cannot_be_drawn_says_so_in_its_place(tmp_path: Path) -> None:
    write_evaluation(make_fit(tmp_path), evaluation(residuals={"target": [1, 2], "prediction": [1, 2]}, step=None))
    page = written(tmp_path)
    # as a fault in the script would
    page.write_text(page.read_text().replace('"sheets":[', '"sheets":{"a":1},"ignored":['), encoding="utf-8")
    text = text_of(page)
    assert "This evaluation could not be drawn: " in text
    assert "Resources" in text


def test_axes_have_as_many_digits_as_tell_their_numbers_apart(tmp_path: Path) -> None:
    for number in range(6):
        metrics = {"val/loss/epoch": 1.0 + 0.0004 * number}
        make_fit(tmp_path, number, seed=number % 3, lr=0.1 if number < 3 else 0.01, metrics=metrics)
    ticks = "document.querySelectorAll('#findings svg [aria-label=\"x-axis tick label\"] text')"
    labels = f"[...{ticks}].map(node => node.textContent)"
    shown = text_of(written(tmp_path), labels)
    assert len(shown) > 2
    assert len(set(shown)) == len(shown)


def test_long_names_of_classes_do_not_widen_a_matrix(tmp_path: Path) -> None:
    classes = [f"Ankle boot {number:03}" for number in range(10)]
    matrix = [[100 if row == column else 3 for column in range(10)] for row in range(10)]
    write_evaluation(make_fit(tmp_path), evaluation(classes=classes, confusion=matrix, per_class={"f1": [0.5] * 10}))
    width = "(box => box.scrollWidth - box.clientWidth)(document.querySelector('.matrix').parentNode)"
    assert text_of(written(tmp_path), width) == 0


@pytest.mark.parametrize(("trials", "known"), [(1, 0), (2, 0), (2, 1), (2, 2)])
def test_an_experiment_with_few_results_says_why(tmp_path: Path, trials: int, known: int) -> None:
    folder = make_search(tmp_path, trials=trials)
    for path in sorted(folder.glob("trial-*/member.json"))[known:]:
        path.write_text(re.sub(r"0\.\d+(\s+\])", r"NaN\1", path.read_text()))
    with Browser() as browser:
        browser.open(written(tmp_path, "sweep"))
        text = browser.run("document.body.innerText")
        empty = "[...document.querySelectorAll('section')].filter(node => node.childNodes.length < 2).length"
        assert browser.run(empty) == 0
    assert "so far" not in text
    told = ["None that finished has a finite val/loss.", "No other trial has a result"]
    assert [each in text for each in told] == [known == 0, known == 1]


@pytest.mark.parametrize(("trials", "head"), [(2, "p"), (3, "p (Holm)")])
def test_a_correction_is_named_where_there_is_one(tmp_path: Path, trials: int, head: str) -> None:
    make_search(tmp_path, trials=trials, best=0, seeds=4)
    page = written(tmp_path, "sweep")
    heads = text_of(page, "[...document.querySelectorAll('#findings th')].map(node => node.textContent)")
    assert heads[5] == head
    row = text_of(page, "document.querySelector('#findings tbody tr').innerText")
    assert str(read_experiment(find_experiment("sweep", tmp_path)).best[0].estimates[0]) in row


def test_a_refusal_is_told_once(tmp_path: Path) -> None:
    data = {name: {"val": [{"class": "Digits", "length": 5, "fingerprint": name}]} for name in "ab"}
    runs = [make_fit(tmp_path, number, lr=0.1 / (number + 1), data=data["ab"[number]]) for number in range(2)]
    text = text_of(written(tmp_path, *map(str, runs)))
    assert text.count("annot be compared as they are") == 1
    assert "The groups were measured on different data" in text


def test_a_group_that_diverged_has_no_mean(tmp_path: Path) -> None:
    for number in range(6):
        facts = {"metrics": {"val/loss/epoch": float("nan")}} if number == 5 else {}
        make_fit(tmp_path, number, seed=number % 3, lr=0.1 if number < 3 else 0.01, **facts)
    text = text_of(written(tmp_path))
    assert "lr=0.01 has no mean: 1 of 3 is nan" in text
