"""The tools, by the client of the package `mcp`: with commands that are made up, and over stdio with real ones."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from mcp import Client, StdioServerParameters

from lighter.agents import server
from lighter.agents.budget import Budget
from lighter.agents.commands import Answer, answer
from lighter.agents.server import Tools, make_server
from lighter.cli import cli
from lighter.config import yaml
from lighter.tries.evidence import least_pairs
from lighter.tries.levels import level
from tests.results.jobs import BASE, OURS, make_fits
from tests.tries.jobs import METRIC, SYSTEM, write_project

TOOLS = ("check", "show", "why", "fit", "try", "status", "stop", "runs", "compare", "report")
Session = Callable[[Client], Coroutine[Any, Any, None]]


def talk(to: Any, session: Session) -> None:
    async def whole() -> None:
        async with Client(to) as client:
            await session(client)

    asyncio.run(whole())


async def call(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    assert isinstance(result.structured_content, dict)
    assert {"ok", "exit_code", "result", "messages", "budget"} <= set(result.structured_content)
    return result.structured_content


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Commands that are not run; what they would have been."""
    words: list[tuple[str, ...]] = []

    async def run(root: Path, *command: str) -> Answer:
        words.append(command)
        return Answer(0, [1, 2, 3], "")

    monkeypatch.setattr(server, "run_command", run)
    return words


def test_all_tools_say_what_they_take(tmp_path):
    async def session(client: Client) -> None:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(tools) == set(TOOLS)
        for tool in tools.values():
            assert tool.description
            assert all("description" in each for each in tool.input_schema["properties"].values()), tool.name
        assert "only way to claim" in tools["try"].description

    talk(make_server(Tools(tmp_path, Budget(tmp_path))), session)


def test_words_become_those_of_commands(tmp_path, started):
    async def session(client: Client) -> None:
        await call(client, "check", inputs=["c.yaml", "a::b=1"])
        await call(client, "show", inputs=["c.yaml"])
        await call(client, "why", path="a::b", inputs=["c.yaml"])
        await call(client, "compare", sides=["a", "b"], metric="val/loss", allow=["code"])
        await call(client, "report", about=[])
        await call(client, "runs", run="last")
        assert (await call(client, "runs", where=["val/loss<1"], limit=2))["result"] == [1, 2]

    talk(make_server(Tools(tmp_path, Budget(tmp_path), safe=True)), session)
    assert started == [
        ("check", "--json", "--stage", "fit", "--safe", "--", "c.yaml", "a::b=1"),
        ("show", "--json", "--", "c.yaml"),
        ("why", "--json", "--", "a::b", "c.yaml"),
        ("compare", "--json", "--metric", "val/loss", "--allow", "code", "--", "a", "b"),
        ("report", "--json", "-o", "report.html", "--"),
        ("runs", "show", "--json", "--", "last"),
        ("runs", "list", "--json", "--where", "val/loss<1"),
    ]


REFUSED = {
    "outside": ("check", {"inputs": ["/etc/passwd"]}, "is outside of"),
    "a value outside": ("fit", {"inputs": ["c.yaml", "run::dir=/tmp"]}, "is outside of"),
    "a run outside, named": ("report", {"about": ["a=../p2/outputs/x"]}, "is outside of"),
    "one of several runs outside": ("compare", {"sides": ["base,../p2/x", "last"]}, "is outside of"),
    "no such user": ("runs", {"run": "~nosuchuser/x"}, "is no path"),
    "a zero byte": ("show", {"inputs": ["a\0b.yaml"]}, "is no path"),
    "a page outside": ("report", {"about": [], "output": "../x.html"}, "is outside of"),
    "no budget": ("fit", {"inputs": ["c.yaml"]}, "no budget to train with"),
    "no budget for a try": ("try", {"overrides": ["a::b=1"], "against": "last"}, "no budget to train with"),
    "no such job": ("stop", {}, "no training was started here"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_mistakes_are_answers(case, tmp_path, started):
    tool, arguments, message = REFUSED[case]

    async def session(client: Client) -> None:
        said = await call(client, tool, **arguments)
        assert (said["ok"], said["exit_code"]) == (False, 2)
        assert message in said["messages"]

    talk(make_server(Tools(tmp_path, Budget(tmp_path))), session)
    assert started == []


def test_a_safe_server_tries_nothing(tmp_path):
    async def session(client: Client) -> None:
        said = await call(client, "try", overrides=["a::b=1"], against="last")
        assert "runs with --safe" in said["messages"]

    talk(make_server(Tools(tmp_path, Budget(tmp_path, 99, 1.0), safe=True)), session)


def test_a_try_needs_the_pairs_that_can_decide_it(tmp_path):
    assert least_pairs(level(1)) == server.LEAST_PAIRS

    async def session(client: Client) -> None:
        said = await call(client, "try", overrides=["a::b=1"], against="last")
        assert "this takes 14" in said["messages"]

    talk(make_server(Tools(tmp_path, Budget(tmp_path, 13, 1.0))), session)


def test_a_try_takes_no_runs_that_another_server_has_taken_meanwhile(tmp_path, monkeypatch):
    used = iter([0, 10])  # when it asks how many are left, and when it starts
    monkeypatch.setattr(Budget, "_used", lambda self: (next(used, 10), 0.0))
    monkeypatch.setattr(server.jobs, "start", lambda *_, **__: pytest.fail("it has started"))

    async def session(client: Client) -> None:
        said = await call(client, "try", overrides=["a::b=1"], against="last", max_pairs=15)
        assert "10 of 30 runs, and this takes 30" in said["messages"]

    talk(make_server(Tools(tmp_path, Budget(tmp_path, 30, 1.0))), session)


def test_what_is_no_json_is_a_message():
    said = answer(1, b"Traceback", b"\nMemoryError")
    assert (said.result, said.messages) == (None, "Traceback\nMemoryError")
    assert len(answer(1, b"", b"x" * 100_000).messages) == 8000


def test_without_the_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "lighter.agents.server", None)
    shown = CliRunner().invoke(cli, ["mcp"])
    assert shown.exit_code == 1
    assert "lighter[agents]" in shown.output


def has_json(*path: str) -> bool:
    command: click.Command = cli
    for name in path:
        assert isinstance(command, click.Group)
        command = command.commands[name]
    return any(option.name == "as_json" for option in command.params)


async def ended(client: Client, seconds: float = 400) -> dict[str, Any]:
    until = time.monotonic() + seconds
    while True:
        said = await call(client, "status")
        if said["result"]["status"] != "running":
            return said
        assert time.monotonic() < until, said
        await asyncio.sleep(0.5)


@pytest.mark.long
@pytest.mark.skipif(not has_json("fit"), reason="fit has no --json")
def test_a_session_over_stdio(tmp_path, monkeypatch):
    write_project(tmp_path, monkeypatch)
    (tmp_path / "c.yaml").write_text(yaml.dump({**SYSTEM, "run": {"name": "base"}}))
    make_fits(tmp_path / "outputs", "one", BASE)
    make_fits(tmp_path / "outputs", "two", OURS, hour=11)
    words = ["-m", "lighter", "mcp", "--root", str(tmp_path), "--max_runs", "16", "--max_hours", "1"]

    async def session(client: Client) -> None:
        wrong = await call(client, "check", inputs=["c.yaml", "trainer::max_epoch=3"])
        assert (wrong["ok"], wrong["exit_code"]) == (False, 2)
        assert "Did you mean" in json.dumps(wrong["result"])
        assert (await call(client, "check", inputs=["c.yaml"]))["ok"]
        assert "lr" in json.dumps((await call(client, "show", inputs=["c.yaml"]))["result"])
        assert "c.yaml" in json.dumps((await call(client, "why", inputs=["c.yaml"], path="seed"))["result"])

        assert (await call(client, "fit", inputs=["c.yaml"]))["result"]["status"] == "running"
        busy = await call(client, "fit", inputs=["c.yaml"])
        assert "one trains at a time" in busy["messages"]
        fit = await ended(client)
        assert fit["ok"], fit
        assert fit["result"]["run"]["status"] == "finished"
        assert fit["budget"]["used_runs"] == 1
        assert METRIC in json.dumps((await call(client, "runs", run="base"))["result"])

        verdict = await call(client, "compare", sides=["one", "two"])
        assert "is better than" in verdict["result"]["verdict"]

        await call(client, "try", overrides=["trainer::benchmark=false"], against="base", metric=METRIC, max_pairs=7)
        tried = await ended(client)
        assert tried["exit_code"] == 11, tried
        assert tried["result"]["result"]["changes_nothing"]
        assert tried["budget"]["used_runs"] == 3
        cheat = await call(client, "try", overrides=["trainer::limit_val_batches=1"], against="base", max_pairs=7)
        assert "this takes 14" in cheat["messages"]  # 13 are left

    monkeypatch.delenv("LIGHTER_PROJECT")
    talk(StdioServerParameters(command=sys.executable, args=words, env={**os.environ}), session)
    # another server has no more than was left
    left = Budget(tmp_path, 16, 1.0).public()
    assert left["left_runs"] == 13
    assert left["used_hours"] > 0
