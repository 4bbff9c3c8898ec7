"""An editor for the tests: pygls's client over stdio, with what a test asks of it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from lsprotocol import types
from pygls.lsp.client import LanguageClient

PATIENCE = 240.0  # seconds; several processes may import torch at the same time


class Editor(LanguageClient):
    """A client that notes what it is told."""

    def __init__(self, folder: Path) -> None:
        super().__init__("tests", "1")
        self.folder = folder
        self.diagnostics: dict[str, list[types.Diagnostic]] = {}
        self.published = asyncio.Event()
        self.messages: list[str] = []
        self.asked: list[str] = []
        self.answer: types.MessageActionItem | None = None
        self.versions: dict[str, int] = {}

    def uri(self, name: str) -> str:
        return (self.folder / name).as_uri()

    def open(self, name: str, text: str | None = None) -> None:
        path = self.folder / name
        text = path.read_text() if text is None else text
        self.versions[name] = 1
        item = types.TextDocumentItem(self.uri(name), "yaml", 1, text)
        self.text_document_did_open(types.DidOpenTextDocumentParams(item))

    def change(self, name: str, text: str) -> None:
        self.versions[name] += 1
        document = types.VersionedTextDocumentIdentifier(self.versions[name], self.uri(name))
        changes = [types.TextDocumentContentChangeWholeDocument(text)]
        self.text_document_did_change(types.DidChangeTextDocumentParams(document, changes))

    def save(self, name: str) -> None:
        self.text_document_did_save(types.DidSaveTextDocumentParams(self.document(name)))

    def document(self, name: str) -> types.TextDocumentIdentifier:
        return types.TextDocumentIdentifier(self.uri(name))

    def shown(self, name: str) -> list[tuple[int, str]]:
        """The lines, from 1, and first lines of the problems that are shown in a file."""
        found = self.diagnostics.get(self.uri(name), [])
        return [(each.range.start.line + 1, each.message.split("\n")[0]) for each in found]

    async def until(self, condition: Any, patience: float = PATIENCE) -> None:
        """Wait until a condition holds, looking whenever something is published."""

        async def wait() -> None:
            while not condition():
                self.published.clear()
                with suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self.published.wait(), 0.2)

        try:
            await asyncio.wait_for(wait(), patience)
        except asyncio.TimeoutError:
            raise AssertionError(f"shown: {self.diagnostics}; messages: {self.messages}") from None

    async def completions(self, name: str, line: int, column: int) -> list[types.CompletionItem]:
        params = types.CompletionParams(self.document(name), types.Position(line, column))
        found = await self.text_document_completion_async(params)
        return [*found.items] if isinstance(found, types.CompletionList) else []

    async def hover(self, name: str, line: int, column: int) -> str:
        found = await self.text_document_hover_async(
            types.HoverParams(self.document(name), types.Position(line, column))
        )
        return found.contents.value if found is not None and isinstance(found.contents, types.MarkupContent) else ""


@asynccontextmanager
async def editor(folder: Path, *words: str, options: Mapping[str, Any] | None = None, environment: Any = None):
    """A server in a folder, and an editor that has it open."""
    client = Editor(folder)

    @client.feature(types.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)
    def published(params: types.PublishDiagnosticsParams) -> None:
        client.diagnostics[params.uri] = [*params.diagnostics]
        client.published.set()

    @client.feature(types.WINDOW_SHOW_MESSAGE)
    def message(params: types.ShowMessageParams) -> None:
        client.messages.append(params.message)

    @client.feature(types.WINDOW_LOG_MESSAGE)
    def log(params: types.LogMessageParams) -> None:
        client.messages.append(params.message)

    @client.feature(types.WINDOW_SHOW_MESSAGE_REQUEST)
    def asked(params: types.ShowMessageRequestParams) -> types.MessageActionItem | None:
        client.asked.append(params.message)
        return client.answer

    command = [str(Path(sys.executable).parent / "lighter"), "lsp", *words]
    await client.start_io(*command, cwd=str(folder), env=environment)
    folders = [types.WorkspaceFolder(folder.as_uri(), "work")]
    await client.initialize_async(
        types.InitializeParams(types.ClientCapabilities(), workspace_folders=folders, initialization_options=options)
    )
    client.initialized(types.InitializedParams())
    try:
        yield client
    finally:
        await asyncio.wait_for(client.shutdown_async(None), 30)
        client.exit(None)
        await asyncio.wait_for(client.stop(), 30)
