"""Names whose modules do not come to an end: a signal is no failure of theirs."""

from __future__ import annotations

import pydoc
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lighter.config import examine
from lighter.config.check.calls import Targets
from lighter.config.locate import locate, why_not_found
from lighter.config.safe import SafeMode
from lighter.engine.check import check
from lighter.engine.project import importable
from lighter.processes.signals import Stopped, stop_signals

MODULE = "comes_to_no_end"


@pytest.fixture
def module(own_place: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Makes a module of one line, which counts how often it was imported."""

    def make(line: str) -> Path:
        count = own_place / "count.txt"
        counts = f"with open({str(count)!r}, 'a') as count: count.write('.')"
        (own_place / f"{MODULE}.py").write_text(f"import signal, sys\n{counts}\n{line}\n")
        return count

    monkeypatch.syspath_prepend(own_place)
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    return make


def by_target() -> Any:
    config, _ = examine([{"model": {"_target_": f"{MODULE}.Net"}}])
    assert config is not None
    return config.objects().target_or_none("model")


def by_import() -> Any:
    config, _ = examine([{"_imports_": {"net": f"{MODULE}.Net"}, "model": {"_target_": "x.Y"}}])
    assert config is not None
    return config.objects()


def by_check() -> Any:
    config, _ = examine([{"model": {"_target_": f"{MODULE}.Net"}}])
    assert config is not None
    node = config.merged.find("model")
    assert node is not None
    return Targets([], []).of(node, "model")


WAYS: dict[str, Callable[[], Any]] = {
    "locate": lambda: locate(f"{MODULE}.Net"),
    "the target of an object": by_target,
    "_imports_": by_import,
    "check": by_check,
    "a name that leads nowhere": lambda: why_not_found(f"{MODULE}.Net"),
    "safe mode": lambda: SafeMode(allow=[f"{MODULE}.Net"]).locate(f"{MODULE}.Net"),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("line", "raised"),
    [("signal.raise_signal(signal.SIGTERM)", Stopped), ("raise KeyboardInterrupt", KeyboardInterrupt)],
)
def test_a_signal_stops_an_import_for_good(
    way: str, line: str, raised: type[BaseException], module: Callable[[str], Path]
) -> None:
    count = module(line)
    with stop_signals(), pytest.raises(raised):
        WAYS[way]()
    assert count.read_text() == "."


def test_a_module_that_leaves_python_has_failed(module: Callable[[str], Path]) -> None:
    module("sys.exit(0)")
    with pytest.raises(pydoc.ErrorDuringImport):
        locate(f"{MODULE}.Net")


@pytest.mark.parametrize(("folder", "project"), [("here", "."), ("here/configs", "..")])
@pytest.mark.parametrize("text", ["model: {_target_: lone_nets.Net}", "_imports_: {nets: lone_nets.Net}"])
def test_a_module_beside_the_config_is_named(tmp_path: Path, folder: str, project: str, text: str) -> None:
    (tmp_path / folder).mkdir(parents=True)
    file = tmp_path / "here" / "lone_nets.py"
    file.write_text("class Net: pass\n")
    config = tmp_path / folder / "config.yaml"

    def not_imported(text: str) -> list[str]:
        config.write_text(f"model: {{_target_: torch.nn.Linear}}\n{text}\n" if "model" not in text else text)
        read, _ = examine([str(config)])
        assert read is not None
        with importable(read, tmp_path):
            return [each.hint for each in check(read, "fit").problems if "cannot be imported" in each.message]

    [hint] = not_imported(text)
    assert hint == (
        f"It is {file}, and Python looks in the working directory. In {config}: `project: {project}` at the top, and "
        f"`project.lone_nets.Net` here. Or start from {file.parent}."
    )
    assert not not_imported(f"project: {project}\n{text.replace('lone_nets', 'project.lone_nets')}")
