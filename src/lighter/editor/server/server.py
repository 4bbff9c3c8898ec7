"""The features of the server: what an editor asks, and the answers in the protocol's terms."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lsprotocol import types
from pygls.exceptions import JsonRpcInvalidParams

from lighter.config.tree import Node
from lighter.editor.server.completion import KEY, NAME, PATH, VALUE, Offer, offers
from lighter.editor.server.cursor import cursor_at
from lighter.editor.server.documents import Analysis
from lighter.editor.server.hovers import Spot, Target, definition, hover, reference_at, spot_at
from lighter.editor.server.names import CLASS, FUNCTION, MODULE
from lighter.editor.server.places import Place, Span, token_at, unquoted
from lighter.editor.server.renames import Occurrence, RefusedRenameError, occurrences, refuse_kinds, rename
from lighter.editor.server.session import TRUST, LighterServer, Settings

_KINDS = {
    KEY: types.CompletionItemKind.Property,
    VALUE: types.CompletionItemKind.EnumMember,
    PATH: types.CompletionItemKind.Reference,
    NAME: types.CompletionItemKind.Variable,
    MODULE: types.CompletionItemKind.Module,
    CLASS: types.CompletionItemKind.Class,
    FUNCTION: types.CompletionItemKind.Function,
}
_AtPlace = (
    types.HoverParams | types.DefinitionParams | types.ReferenceParams | types.PrepareRenameParams | types.RenameParams
)
_MEANT = re.compile(r"^Did you mean `([^`]+)`\?", re.MULTILINE)
_QUOTED = re.compile(r"`([^`]+)`")


def create(settings: Settings) -> LighterServer:
    """Return a server with all features."""
    server = LighterServer(settings)
    server.feature(types.INITIALIZE)(_initialize)
    server.feature(types.INITIALIZED)(_initialized)
    server.feature(types.SHUTDOWN)(_shutdown)
    for opened in (types.TEXT_DOCUMENT_DID_OPEN, types.TEXT_DOCUMENT_DID_CHANGE):
        server.feature(opened)(_changed)
    server.feature(types.TEXT_DOCUMENT_DID_SAVE)(_saved)
    server.feature(types.TEXT_DOCUMENT_DID_CLOSE)(_closed)
    server.feature(types.WORKSPACE_DID_CHANGE_WATCHED_FILES)(_watched)
    triggers = types.CompletionOptions(trigger_characters=["@", "%", "$", ".", ":", "="])
    server.feature(types.TEXT_DOCUMENT_COMPLETION, triggers)(_completion)
    server.feature(types.TEXT_DOCUMENT_HOVER)(_hover)
    server.feature(types.TEXT_DOCUMENT_DEFINITION)(_definition)
    server.feature(types.TEXT_DOCUMENT_REFERENCES)(_references)
    server.feature(types.TEXT_DOCUMENT_RENAME, types.RenameOptions(prepare_provider=True))(_rename)
    server.feature(types.TEXT_DOCUMENT_PREPARE_RENAME)(_prepare_rename)
    server.feature(types.TEXT_DOCUMENT_DOCUMENT_SYMBOL)(_symbols)
    fixes = types.CodeActionOptions(code_action_kinds=[types.CodeActionKind.QuickFix])
    server.feature(types.TEXT_DOCUMENT_CODE_ACTION, fixes)(_code_actions)
    server.command(TRUST)(_trust)
    return server


# The life of the server


def _initialize(ls: LighterServer, params: types.InitializeParams) -> None:
    options = params.initialization_options
    trust = options.get("trust") if isinstance(options, dict) else getattr(options, "trust", False)
    folders = [folder.uri for folder in params.workspace_folders or ()]
    ls.begin(folders or [uri for uri in [params.root_uri] if uri], trust=trust is True)


async def _initialized(ls: LighterServer, params: types.InitializedParams) -> None:
    workspace = ls.client_capabilities.workspace
    watched = workspace.did_change_watched_files if workspace is not None else None
    if watched is None or not watched.dynamic_registration:
        return
    watchers = [types.FileSystemWatcher(pattern) for pattern in ("**/*.py", "**/*.yaml", "**/*.yml")]
    options = types.DidChangeWatchedFilesRegistrationOptions(watchers)
    registration = types.Registration("files", types.WORKSPACE_DID_CHANGE_WATCHED_FILES, options)
    ls.spawn(ls.client_register_capability_async(types.RegistrationParams([registration])))


async def _shutdown(ls: LighterServer, params: None) -> None:
    await ls.end()


def _changed(ls: LighterServer, params: types.DidOpenTextDocumentParams | types.DidChangeTextDocumentParams) -> None:
    ls.changed(params.text_document.uri)


def _saved(ls: LighterServer, params: types.DidSaveTextDocumentParams) -> None:
    ls.check_all()


def _closed(ls: LighterServer, params: types.DidCloseTextDocumentParams) -> None:
    ls.closed(params.text_document.uri)


def _watched(ls: LighterServer, params: types.DidChangeWatchedFilesParams) -> None:
    if any(change.uri.endswith(".py") for change in params.changes):
        ls.code_changed()
        return
    for path in (ls.path_of(change.uri) for change in params.changes):
        if path is not None:
            ls.check_soon(path)


def _trust(ls: LighterServer, *arguments: Any) -> None:
    ls.trust()


# What is typed


def _completion(ls: LighterServer, params: types.CompletionParams) -> types.CompletionList | None:
    path = ls.path_of(params.text_document.uri)
    if path is None or path not in ls.documents.texts:
        return None
    place = ls.place(path, params.position)
    cursor = cursor_at(ls.documents.texts[path], place)
    if cursor is None or not _is_ours(ls, path):
        return None
    found = offers(cursor, ls.documents.analyses.get(path), ls.names(path), path.parent, ls.safe)
    items = [_item(ls, path, place.line, cursor.span[1], number, offer) for number, offer in enumerate(found)]
    return types.CompletionList(is_incomplete=False, items=items)


def _is_ours(ls: LighterServer, path: Path) -> bool:
    # a file that is empty may become a config, if there are others in its folder
    return path in ls.documents.analyses or not ls.documents.texts[path].strip()


def _item(ls: LighterServer, path: Path, line: int, end: int, number: int, offer: Offer) -> types.CompletionItem:
    span = Span(line, offer.start, end if offer.end is None else offer.end)
    return types.CompletionItem(
        label=offer.label,
        kind=_KINDS[offer.kind],
        detail=offer.detail or None,
        documentation=offer.documentation or None,
        sort_text=f"{number:05}",
        filter_text=unquoted(offer.text),
        text_edit=types.TextEdit(ls.range(path, span), offer.text),
    )


# What stands at a place


def _spot(ls: LighterServer, params: _AtPlace) -> tuple[Analysis, Spot, Place] | None:
    path = ls.path_of(params.text_document.uri)
    analysis = ls.documents.analyses.get(path) if path is not None else None
    if path is None or analysis is None:
        return None
    place = ls.place(path, params.position)
    spot = spot_at(ls.documents.tree(path), ls.documents.text(path), place)
    return (analysis, spot, place) if spot is not None else None


def _hover(ls: LighterServer, params: types.HoverParams) -> types.Hover | None:
    at = _spot(ls, params)
    text = hover(ls.documents, *at) if at is not None else ""
    if at is None or not text:
        return None
    analysis, spot, _ = at
    return types.Hover(types.MarkupContent(types.MarkupKind.Markdown, text), ls.range(analysis.path, spot.span))


def _definition(ls: LighterServer, params: types.DefinitionParams) -> types.Location | None:
    at = _spot(ls, params)
    target = definition(ls.documents, *at, ls.names(at[0].path)) if at is not None else None
    return _location(ls, target) if target is not None else None


def _location(ls: LighterServer, target: Target) -> types.Location:
    return types.Location(
        ls.uri_of(target.file), ls.range(target.file, Span(target.line, target.column, target.column))
    )


def _named_at(ls: LighterServer, params: _AtPlace) -> tuple[Analysis, str, Span] | None:
    """Return the path that a key or reference at a place names, and the range of its text."""
    at = _spot(ls, params)
    if at is None:
        return None
    analysis, spot, place = at
    reference = reference_at(spot, ls.documents.text(analysis.path), place)
    if reference is not None:
        return analysis, *reference
    return (analysis, spot.path, spot.span) if spot.is_key else None


def _references(ls: LighterServer, params: types.ReferenceParams) -> list[types.Location] | None:
    at = _named_at(ls, params)
    if at is None:
        return None
    every = occurrences(ls.documents, at[0], at[1])
    wanted = [each for each in every if params.context.include_declaration or not each.is_key]
    return [types.Location(ls.uri_of(each.file), ls.range(each.file, each.span)) for each in wanted]


def _prepare_rename(ls: LighterServer, params: types.PrepareRenameParams) -> types.PrepareRenamePlaceholder | None:
    at = _named_at(ls, params)
    if at is None:
        return None
    analysis, path, span = at
    with _refusals():
        refuse_kinds(analysis, path)
    here = [each for each in occurrences(ls.documents, analysis, path) if _is_within(each, analysis.path, span)]
    name = path.rpartition("::")[2]
    return types.PrepareRenamePlaceholder(ls.range(analysis.path, here[0].span if here else span), name)


def _is_within(occurrence: Occurrence, path: Path, span: Span) -> bool:
    inner = occurrence.span
    return occurrence.file == path and inner.line == span.line and span.start <= inner.start <= inner.end <= span.end


def _rename(ls: LighterServer, params: types.RenameParams) -> types.WorkspaceEdit | None:
    at = _named_at(ls, params)
    if at is None:
        return None
    with _refusals():
        edits = rename(ls.documents, at[0], at[1], params.new_name)
    return types.WorkspaceEdit(
        changes={
            ls.uri_of(file): [types.TextEdit(ls.range(file, span), text) for span, text in of_file]
            for file, of_file in edits.items()
        }
    )


@contextmanager
def _refusals() -> Iterator[None]:
    """Show why something cannot be renamed, in the editor's own way."""
    try:
        yield
    except RefusedRenameError as error:
        raise JsonRpcInvalidParams(message=str(error)) from None


def _symbols(ls: LighterServer, params: types.DocumentSymbolParams) -> list[types.DocumentSymbol] | None:
    path = ls.path_of(params.text_document.uri)
    tree = ls.documents.tree(path) if path is not None and path in ls.documents.analyses else None
    if path is None or tree is None:
        return None
    lines = ls.documents.text(path).splitlines()

    def symbols(node: Node) -> Iterator[types.DocumentSymbol]:
        for key, child in node.children():
            span = token_at(lines, child.place.line - 1, child.place.column - 1)
            range_ = ls.range(path, span)
            kind = types.SymbolKind.Array if isinstance(child.value, list) else types.SymbolKind.Property
            kind = types.SymbolKind.Object if isinstance(child.value, dict) else kind
            inner = [*symbols(child)]
            whole = types.Range(range_.start, max([range_.end, *(each.range.end for each in inner)], key=_by_place))
            yield types.DocumentSymbol(str(key) or "''", kind, whole, range_, _detail(child), children=inner)

    return [*symbols(tree)]


def _by_place(position: types.Position) -> tuple[int, int]:
    return position.line, position.character


def _detail(node: Node) -> str | None:
    target = node.value.get("_target_") if isinstance(node.value, dict) else None
    return str(target.value) if target is not None else None


def _code_actions(ls: LighterServer, params: types.CodeActionParams) -> list[types.CodeAction]:
    path = ls.path_of(params.text_document.uri)
    actions = []
    for diagnostic in params.context.diagnostics:
        data = diagnostic.data if isinstance(diagnostic.data, dict) else {}
        if TRUST in str(data.get("hint", "")):
            command = types.Command("Trust the code of this folder", TRUST)
            actions.append(_fix("Trust the code of this folder: import it", diagnostic, command=command))
            continue
        edit = _nearest(ls, path, diagnostic, data) if path is not None else None
        if edit is not None:
            changes = {params.text_document.uri: [edit]}
            title = f"Replace with `{edit.new_text}`"
            actions.append(_fix(title, diagnostic, edit=types.WorkspaceEdit(changes=changes)))
    return actions


def _fix(title: str, diagnostic: types.Diagnostic, **done: Any) -> types.CodeAction:
    return types.CodeAction(title, kind=types.CodeActionKind.QuickFix, diagnostics=[diagnostic], **done)


def _nearest(
    ls: LighterServer, path: Path, diagnostic: types.Diagnostic, data: dict[str, Any]
) -> types.TextEdit | None:
    """Return the edit that a problem's "Did you mean" asks for; None where it is not clear what is to be replaced."""
    meant = _MEANT.search(str(data.get("hint", "")))
    start = ls.place(path, diagnostic.range.start)
    lines = ls.documents.text(path).splitlines()
    if meant is None or start.line >= len(lines):
        return None
    span = token_at(lines, start.line, start.column)
    token = lines[span.line][span.start : span.end]
    wrong = next((word for word in reversed(_QUOTED.findall(str(data.get("message", "")))) if word in token), None)
    bare = unquoted(token)
    wrong = wrong or (bare if re.fullmatch(r"[=~]?[\w.-]+", bare) else None)
    if wrong is None:
        return None
    right = meant[1]
    if wrong[:1] in ("@", "%") and right[:1] not in ("@", "%"):
        right = wrong[0] + right
    at = span.start + token.rfind(wrong)
    return types.TextEdit(ls.range(path, Span(span.line, at, at + len(wrong))), right)
