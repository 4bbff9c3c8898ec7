"""The server as an editor sees it: over stdio, with user code that prints, ends Python, changes, and is not trusted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from lsprotocol import types
from pygls.exceptions import JsonRpcException

from tests.editor.lsp_client import Editor, editor

pytestmark = pytest.mark.long

CONFIG = """\
vars: {rate: 0.1}
model:
  _target_: mine.Net
  width: 3
  network: {_target_: torch.nn.Flatten}
  optimizer: {_target_: torch.optim.Adam, lr: "@vars::rate"}
"""
CODE = """\
import pathlib, sys
import lighter
pathlib.Path("ran").touch()
print("Content-Length: 1000", flush=True)
sys.stdin.read()

class Net(lighter.LighterModule):
    def __init__(self, width: int, **kwargs):
        super().__init__(**kwargs)

    def training_step(self, batch, batch_idx): ...
    def train_dataloader(self): ...
"""
SHADOW = "import pathlib; pathlib.Path(__file__ + '.ran').touch(); raise SystemExit"


def run(folder: Path, test: Callable[[Editor], Coroutine[Any, Any, None]], *words: str, **options: Any) -> None:
    async def main() -> None:
        async with editor(folder, *words, **options) as client:
            await test(client)

    asyncio.run(main())


def says(client: Editor, *texts: str, name: str = "config.yaml") -> Callable[[], bool]:
    """Return a condition: so many problems are shown, and each has one of the texts."""

    def are_shown() -> bool:
        shown = client.shown(name)
        return len(shown) == len(texts) and all(any(text in each for _, each in shown) for text in texts)

    return are_shown


@pytest.fixture
def desk(own_place: Path) -> Path:
    (own_place / "mine.py").write_text(CODE)
    for name in ("yaml", "torch", "pygls", "lsprotocol", "click", "lightning", "json", "numpy"):
        (own_place / f"{name}.py").write_text(SHADOW)
    return own_place


def test_code_of_the_workspace_runs_only_once_it_is_trusted(desk: Path) -> None:
    async def test(client: Editor) -> None:
        client.open("config.yaml", CONFIG.replace("lr:", "lrr:").replace("width:", "witdh:"))
        await client.until(says(client, "mine.Net` is code of this folder", "torch.optim.Adam: there is no argument"))
        await client.until(lambda: client.asked)
        assert not (desk / "ran").exists()
        found = await client.text_document_code_action_async(
            types.CodeActionParams(
                client.document("config.yaml"),
                client.diagnostics[client.uri("config.yaml")][0].range,
                types.CodeActionContext(client.diagnostics[client.uri("config.yaml")]),
            )
        )
        titles = {action.title for action in found or ()}
        assert titles == {"Trust the code of this folder: import it", "Replace with `lr`"}
        await client.workspace_execute_command_async(types.ExecuteCommandParams("lighter.trust"))
        await client.until(says(client, "mine.Net: there is no argument `witdh`", "Adam: there is no argument `lrr`"))
        assert (desk / "ran").exists()

        # a module that changes is imported anew, one that ends Python is not tried again and again
        (desk / "mine.py").write_text(CODE.replace("width", "witdh"))
        await client.until(says(client, "Adam: there is no argument `lrr`"))
        (desk / "mine.py").write_text("import os; os._exit(7)")
        await client.until(lambda: any("exit code 7" in message for message in client.messages))
        client.change("config.yaml", CONFIG + "vras: 1\n")
        await client.until(says(client, "this section is unknown"))
        (desk / "mine.py").write_text("raise SystemExit('no')")  # noticed, though the child that ended named no file
        await client.until(says(client, "this section is unknown", "cannot be imported: SystemExit: no"))
        (desk / "mine.py").write_text("import time; time.sleep(1000)")
        client.change("config.yaml", CONFIG + "vrsa: 1\n")
        await client.until(says(client, "this section is unknown"))
        (desk / "mine.py").write_text(CODE)
        client.save("config.yaml")
        client.change("config.yaml", CONFIG)

    async def with_saved_code(client: Editor) -> None:
        await test(client)
        watched = types.FileEvent(client.uri("mine.py"), types.FileChangeType.Changed)
        client.workspace_did_change_watched_files(types.DidChangeWatchedFilesParams([watched]))
        await client.until(says(client))

    run(desk, with_saved_code)
    assert not [*desk.glob("*.ran")]


def test_code_that_ended_python_is_noticed_once_it_is_mended(own_place: Path) -> None:
    (own_place / "mine.py").write_text("import inner\n" + CODE.replace("sys.stdin.read()", ""))
    (own_place / "inner.py").write_text("import os; os._exit(7)")

    async def test(client: Editor) -> None:
        client.open("config.yaml", CONFIG.replace("lr:", "lrr:"))
        await client.until(lambda: any("exit code 7" in message for message in client.messages))
        (own_place / "inner.py").write_text("")
        await client.until(says(client, "Adam: there is no argument `lrr`"))

    run(own_place, test, options={"trust": True})


def test_what_an_editor_asks(own_place: Path) -> None:
    (own_place / "mine.py").write_text(CODE.replace("sys.stdin", "''; sys.stdin"))

    async def test(client: Editor) -> None:
        client.open("config.yaml", CONFIG)
        await client.until(lambda: (own_place / "ran").exists())
        await client.until(says(client))
        broken = CONFIG.replace("  width: 3\n", "  wi\n").replace("rate: 0.1", "rate: '😀'")
        client.change("config.yaml", broken)
        await client.until(says(client, "this is not YAML"))
        found = await wait_for(
            lambda: client.completions("config.yaml", 3, 4), lambda items: any(item.detail for item in items)
        )
        item = next(each for each in found if each.label == "width")
        assert item.detail == "int, no default"
        assert isinstance(item.text_edit, types.TextEdit)
        assert (item.text_edit.new_text, item.text_edit.range.start.character) == ("width: ", 2)
        names = [each.label for each in await client.completions("config.yaml", 2, 17)]
        assert names == ["Net"]

        client.change("config.yaml", CONFIG + "trainer: {gradient_clip_algorithm: , barebones: }\n")
        choices = await wait_for(lambda: client.completions("config.yaml", 6, 48), lambda items: items)
        assert {each.label for each in choices} == {"true", "false"}
        client.change("config.yaml", CONFIG.replace("rate: 0.1", "'😀': '😀', rate: 0.1, x: '@vars::rate'"))
        await client.until(says(client))
        line = "vars: {'😀': '😀', rate: 0.1, x: '@vars::rate'}"
        at = len(line[: line.index("rate:")].encode("utf-16-le")) // 2
        assert "0.1" in await client.hover("config.yaml", 0, at + 1)
        document, place = client.document("config.yaml"), types.Position(0, at + 1)
        edit = await client.text_document_rename_async(types.RenameParams(document, place, "pace"))
        assert edit is not None
        assert edit.changes is not None
        [edits] = edit.changes.values()
        assert (edits[0].range.start.line, edits[0].range.start.character) == (0, at)
        assert len(edits) == 3
        references = await client.text_document_references_async(
            types.ReferenceParams(types.ReferenceContext(False), document, place)
        )
        assert [each.range.start.line for each in references or ()] == [0, 5]
        with pytest.raises(JsonRpcException, match=r"is an argument of mine\.Net"):
            await client.text_document_prepare_rename_async(types.PrepareRenameParams(document, types.Position(3, 3)))
        found_at = await client.text_document_definition_async(types.DefinitionParams(document, types.Position(2, 15)))
        assert isinstance(found_at, types.Location)
        assert (found_at.uri, found_at.range.start.line) == (client.uri("mine.py"), 6)
        symbols = await client.text_document_document_symbol_async(types.DocumentSymbolParams(document))
        assert [each.name for each in symbols or ()] == ["vars", "model"]

    run(own_place, test, options={"trust": True})


async def wait_for(ask: Callable[[], Coroutine[Any, Any, Any]], is_good: Callable[[Any], Any]) -> Any:
    for _ in range(300):
        answer = await ask()
        if is_good(answer):
            return answer
        await asyncio.sleep(0.2)
    raise AssertionError(answer)


def test_safe_mode_imports_nothing_that_is_not_permitted(desk: Path) -> None:
    async def test(client: Editor) -> None:
        client.open("config.yaml", CONFIG)
        await client.until(says(client, "safe mode does not call `mine.Net`"))
        client.open("other.yaml", CONFIG.replace("mine.Net", "lighter.LighterModule").replace("width", "wdith"))
        await client.until(lambda: "there is no argument `wdith`" in str(client.shown("other.yaml")))
        names = {each.label for each in await client.completions("other.yaml", 2, 20)}
        assert "lighter.LighterModule" in names
        assert "mine.Net" not in names

    run(desk, test, "--safe", options={"trust": True})
    assert not (desk / "ran").exists()
    assert not [*desk.glob("*.ran")]
