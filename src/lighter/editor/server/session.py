"""The state of a server: documents, the worker, what was published; and the checks that run as one types."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lsprotocol import types
from pygls import uris
from pygls.lsp.server import LanguageServer

from lighter import __version__
from lighter.config.safe import SafeMode
from lighter.config.tree import Node
from lighter.editor.server.documents import Analysis, Documents, Finding, open_texts
from lighter.editor.server.gate import is_of_user, outside
from lighter.editor.server.names import Names
from lighter.editor.server.places import Place, Span, token_at
from lighter.editor.server.worker_link import WorkerLink, WorkerLostError

TRUST = "lighter.trust"
SOURCE = "lighter"
DEBOUNCE = 0.1
"""Seconds without a change after which a text is checked."""
_TOGETHER = 0.15  # seconds that the first tier waits for the second, so that marks do not flicker
_POLL = 1.0  # seconds between two looks at the files of user code
_TARGET = re.compile(r"_target_['\"]?\s*:\s*['\"]?([\w.]+)")
_SEVERITIES = {"error": types.DiagnosticSeverity.Error, "warning": types.DiagnosticSeverity.Warning}


@dataclass(frozen=True)
class Settings:
    """The options of the command line.

    Attributes:
        trusted: whether code of the workspace may be imported from the start.
        safe: the options of safe mode, as of `SafeMode`; None without it.
    """

    trusted: bool = False
    safe: Mapping[str, Any] | None = None


@dataclass
class _Crash:
    """The targets whose import ended the worker: they are not tried again before something changes."""

    targets: set[str] = field(default_factory=set)


class LighterServer(LanguageServer):
    """The language server; the handlers of its features are in `server`."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(SOURCE, __version__)
        self.settings = settings
        self.trusted = settings.trusted
        self.safe = SafeMode(**settings.safe) if settings.safe is not None else None
        self.documents = Documents([], Path.cwd(), self.safe)
        self.link: WorkerLink | None = None
        self.was_asked = False
        self._full_path = list(sys.path)
        self._checks: dict[Path, asyncio.Task[None]] = {}
        self._others: set[asyncio.Task[Any]] = set()
        self._uris: dict[Path, str] = {}
        self._published: dict[Path, dict[Path, list[Finding]]] = {}
        self._crash: _Crash | None = None

    # The workspace

    def begin(self, folders: Sequence[str], *, trust: bool) -> None:
        """Take up the folders of the workspace, none of whose modules this process imports from here on."""
        self.trusted = self.trusted or trust
        paths = [Path(path).resolve() for path in map(uris.to_fs_path, folders) if path]
        self.documents = Documents(paths, Path.cwd().resolve(), self.safe)
        sys.path[:] = outside(sys.path, self.roots)

    @property
    def roots(self) -> list[str]:
        """The folders whose code is the user's."""
        opened = {str(path.parent) for path in self.documents.texts}
        return [*map(str, self.documents.folders), str(self.documents.started_in), *sorted(opened)]

    def names(self, path: Path) -> Names:
        """Return the names that a config could import, as far as they can be read without importing."""
        analysis = self.documents.analyses.get(path)
        root = self.documents.root_of(path)
        merged = analysis.config.merged if analysis is not None and analysis.config is not None else None
        return Names([str(root), *self._full_path], _project(merged, root))

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Run something in the background, and keep it until it is done."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._others.add(task)
        task.add_done_callback(self._others.discard)

    async def end(self) -> None:
        """Stop what runs in the background, and the worker."""
        for task in (*self._checks.values(), *self._others):
            if task is not asyncio.current_task():
                task.cancel()
        if self.link is not None:
            await self.link.close()

    # Texts

    def path_of(self, uri: str) -> Path | None:
        """Return the file of a document; None for one that is in no file yet."""
        path = uris.to_fs_path(uri) if uri.startswith("file:") else None
        return Path(path).resolve() if path else None

    def uri_of(self, path: Path) -> str:
        return self._uris.get(path) or uris.from_fs_path(str(path)) or ""

    def changed(self, uri: str) -> None:
        """Take in the text of a document that was opened or changed, and check what depends on it."""
        path = self.path_of(uri)
        if path is not None:
            self._uris[path] = uri
            self.documents.opened(path, self.workspace.get_text_document(uri).source)
            self.check_soon(path)

    def closed(self, uri: str) -> None:
        path = self.path_of(uri)
        if path is None:
            return
        above = [each for each in self.documents.affected(path) if each != path]
        self.documents.closed(path)
        self._cancel(path)
        self._publish(path, [])
        self._published.pop(path, None)
        for each in above:
            self.check_soon(each)

    def place(self, path: Path, position: types.Position) -> Place:
        lines = self.documents.text(path).splitlines(keepends=True)
        if position.line >= len(lines):
            return Place(position.line, 0)
        at = self.workspace.position_codec.position_from_client_units(lines, position)
        return Place(at.line, at.character)

    def range(self, path: Path, span: Span) -> types.Range:
        lines = self.documents.text(path).splitlines()
        line = lines[span.line] if span.line < len(lines) else ""
        start, end = (self.workspace.position_codec.client_num_units(line[:column]) for column in span[1:])
        return types.Range(types.Position(span.line, start), types.Position(span.line, end))

    # Checks

    def check_soon(self, path: Path) -> None:
        """Check what depends on a file, when nobody has typed for a moment."""
        for each in self.documents.affected(path):
            self._cancel(each)
            self._checks[each] = asyncio.get_running_loop().create_task(self._check(each))

    def check_all(self) -> None:
        self._crash = None
        for path in list(self.documents.texts):
            self.check_soon(path)

    def code_changed(self) -> None:
        """Forget user code that was imported, and check all with the new one."""
        if self.link is not None:
            self.link.renew()
        self.check_all()

    def trust(self) -> None:
        """Import code of the workspace from now on."""
        self.trusted = True
        self.check_all()

    def _cancel(self, path: Path) -> None:
        task = self._checks.pop(path, None)
        if task is not None:
            task.cancel()

    async def _check(self, path: Path) -> None:
        await asyncio.sleep(DEBOUNCE)
        analysis = self.documents.read(path)
        if analysis is None or not analysis.is_readable or self._has_crashed(analysis):
            if analysis is not None:
                analysis.second = []
            self._publish(path, list(analysis.findings(trusted=True)) if analysis is not None else [])
            return
        request = self._request(analysis)
        second = asyncio.create_task(self._ask({**request, "do": "check"}))
        # of this text, though it may have changed, and be no YAML, when its turn comes: completion needs it then
        self.spawn(self._read_schema(analysis, {**request, "do": "schema"}))
        try:
            await asyncio.wait({second}, timeout=_TOGETHER)
            if not second.done():
                self._publish(path, analysis.first)
            analysis.second = [Finding(**each) for each in (await second).get("problems", ())]
            self._publish(path, list(analysis.findings(trusted=self.imports_user_code)), analysis.untrusted())
            self._offer_trust(analysis)
        except WorkerLostError as lost:
            self._lost(analysis, lost)
        finally:
            second.cancel()

    @property
    def imports_user_code(self) -> bool:
        # in safe mode only a project that was permitted, of which only what is on the list
        return self.trusted if self.settings.safe is None else bool(self.settings.safe.get("project"))

    async def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        if self.link is None:
            self.link = WorkerLink(outside(sys.path, self.roots), self._full_path)
            self.spawn(self._watch_code(self.link))
        return await self.link.ask(request)

    def _request(self, analysis: Analysis) -> dict[str, Any]:
        return {
            "root": str(analysis.root),
            "file": analysis.name,
            "texts": open_texts(self.documents),
            "trusted": self.imports_user_code,
            "roots": self.roots,
            "safe": self.settings.safe,
        }

    async def _read_schema(self, analysis: Analysis, request: Mapping[str, Any]) -> None:
        if analysis.is_asked_for_schema:
            return
        analysis.is_asked_for_schema = True
        try:
            analysis.schema = (await self._ask(request)).get("schema") or analysis.schema
        except WorkerLostError:  # the check that follows asks again
            pass
        finally:
            analysis.is_asked_for_schema = False

    async def _watch_code(self, link: WorkerLink) -> None:
        while True:
            await asyncio.sleep(_POLL)
            if link.has_old_code():
                self.code_changed()

    def _targets(self, analysis: Analysis) -> set[str]:
        return {name for file in analysis.files for name in _TARGET.findall(self.documents.text(file))}

    def _code_of(self, analysis: Analysis) -> list[str]:
        """Return the user's modules that a config names, and those beside them, which they may import in turn."""
        names = self.names(analysis.path)
        files = {file for target in self._targets(analysis) for file in names.files(target)}
        folders = {Path(file).parent for file in files if is_of_user(file)}
        return [str(module) for folder in folders for module in folder.glob("*.py")]

    def _has_crashed(self, analysis: Analysis) -> bool:
        return self._crash is not None and self._crash.targets == self._targets(analysis)

    def _lost(self, analysis: Analysis, lost: WorkerLostError) -> None:
        if self.link is not None:
            self.link.watch(self._code_of(analysis))
        if lost.status:
            self._publish(analysis.path, analysis.first)
            self._crash = _Crash(self._targets(analysis))
            ended = f"exit code {lost.status}" if lost.status > 0 else f"signal {-lost.status}"
            text = (
                f"{analysis.name}: importing its targets ended Python ({ended}). They are checked again when one of "
                "them, or the code, changes; or when the config is saved."
            )
            self.window_show_message(types.ShowMessageParams(types.MessageType.Error, text))
        else:
            self.window_log_message(types.LogMessageParams(types.MessageType.Info, f"{analysis.name}: {lost}"))

    # What is shown

    def _publish(self, path: Path, findings: Sequence[Finding], untrusted: Sequence[Finding] = ()) -> None:
        """Show the problems of one config in its files, beside what other configs say of these."""
        by_file: dict[Path, list[Finding]] = {}
        for each in (*findings, *(_as_hint(finding) for finding in untrusted)):
            by_file.setdefault(Path(each.file).resolve() if each.file else path, []).append(each)
        before = self._published.get(path, {})
        self._published[path] = by_file
        for file in {*before, *by_file, path}:
            every = [each for of_config in self._published.values() for each in of_config.get(file, ())]
            diagnostics = [self._diagnostic(file, each) for each in dict.fromkeys(every)]
            document = self.workspace.text_documents.get(self.uri_of(file))
            version = document.version if document is not None else None
            self.text_document_publish_diagnostics(
                types.PublishDiagnosticsParams(self.uri_of(file), diagnostics, version)
            )

    def _diagnostic(self, file: Path, finding: Finding) -> types.Diagnostic:
        lines = self.documents.text(file).splitlines()
        span = token_at(lines, finding.line - 1, finding.column - 1) if finding.file else Span(0, 0, 0)
        # where no place says what it is about, its path does
        message = finding.message if finding.file else ": ".join(filter(None, [finding.path, finding.message]))
        return types.Diagnostic(
            range=self.range(file, span),
            message="\n".join(filter(None, [message, finding.hint])),
            severity=_SEVERITIES.get(finding.severity, types.DiagnosticSeverity.Information),
            source=SOURCE,
            data={"message": finding.message, "hint": finding.hint, "path": finding.path},
        )

    def _offer_trust(self, analysis: Analysis) -> None:
        names = analysis.untrusted()
        if not names or self.was_asked or self.imports_user_code or self.safe is not None:
            return
        self.was_asked = True
        self.spawn(
            self._ask_for_trust(
                f"{analysis.name} names code of this folder, which is not imported, and so not "
                "checked. Importing runs it. Do you trust this folder?"
            )
        )

    async def _ask_for_trust(self, text: str) -> None:
        actions = [types.MessageActionItem("Trust"), types.MessageActionItem("Not now")]
        params = types.ShowMessageRequestParams(types.MessageType.Info, text, actions)
        with suppress(Exception):  # a client that cannot ask has the command
            answer = await self.window_show_message_request_async(params)
            if answer is not None and answer.title == "Trust":
                self.trust()


def _as_hint(finding: Finding) -> Finding:
    name = finding.message.split("`")[1] if "`" in finding.message else "this"
    text = f"`{name}` is code of this folder, and not imported before you trust it"
    return finding._replace(
        message=text, hint=f"The command `{TRUST}`, or `lighter lsp --trust`.", severity="information"
    )


def _project(merged: Node | None, root: Path) -> Path | None:
    node = merged.child("project") if merged is not None else None
    if node is not None and isinstance(node.value, str):
        return (root / node.origin.source.folder / os.path.expanduser(node.value)).resolve()
    return root if (root / "__lighter__.py").is_file() else None
