"""A client of yaml-language-server, the program by which editors understand YAML files and their schemas."""

from __future__ import annotations

import json
import os
import queue
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

SETTINGS = {
    "yaml": {"validate": True, "hover": True, "completion": True, "schemaStore": {"enable": False}},
    "http": {"proxy": "", "proxyStrictSSL": False},
}
PATIENCE = 120  # seconds, on a machine with other work


def find_server() -> str | None:
    """The program, beside this Python as `make` installs it, or on the PATH."""
    beside = Path(sys.prefix, "node/node_modules/.bin/yaml-language-server")
    named = os.environ.get("YAML_LANGUAGE_SERVER") or (str(beside) if beside.exists() else None)
    return (named or shutil.which("yaml-language-server")) if shutil.which("node") else None


class YamlServer:
    """A running server, with the requests that an editor makes."""

    def __init__(self, command: str, folder: Path) -> None:
        self.folder = folder
        self._process = subprocess.Popen(
            [command, "--stdio"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=folder
        )
        self._inbox: queue.Queue[dict[str, Any]] = queue.Queue()
        self._diagnostics: dict[str, list[dict[str, Any]]] = {}
        self._number = 0
        threading.Thread(target=self._read, daemon=True).start()
        capabilities = {"workspace": {"configuration": True}, "textDocument": {"hover": {}, "completion": {}}}
        about = {"processId": os.getpid(), "rootUri": folder.as_uri(), "capabilities": capabilities}
        self._request("initialize", {**about, "workspaceFolders": [{"uri": folder.as_uri(), "name": "tests"}]})
        self._send({"method": "initialized", "params": {}})
        self._send({"method": "workspace/didChangeConfiguration", "params": {"settings": SETTINGS}})

    def diagnostics(self, file: Path, text: str | None = None) -> list[dict[str, Any]]:
        """Open a file, or a text in its place, and return what the server marks."""
        uri, text = file.as_uri(), file.read_text() if text is None else text
        self._number += 1
        document: dict[str, Any] = {"uri": uri, "version": self._number}
        if self._diagnostics.pop(uri, None) is None:
            document |= {"languageId": "yaml", "text": text}
            self._send({"method": "textDocument/didOpen", "params": {"textDocument": document}})
        else:
            changes = {"textDocument": document, "contentChanges": [{"text": text}]}
            self._send({"method": "textDocument/didChange", "params": changes})
        self._wait(lambda: uri in self._diagnostics)
        return self._diagnostics[uri]

    def completions(self, file: Path, line: int, column: int) -> dict[str, dict[str, Any]]:
        answer = self._request("textDocument/completion", self._position(file, line, column))
        return {item["label"]: item for item in answer["items"]}

    def hover(self, file: Path, line: int, column: int) -> str:
        answer = self._request("textDocument/hover", self._position(file, line, column))
        return "" if answer is None else str(answer["contents"]["value"])

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()

    def _position(self, file: Path, line: int, column: int) -> dict[str, Any]:
        return {"textDocument": {"uri": file.as_uri()}, "position": {"line": line, "character": column}}

    def _request(self, method: str, params: Any) -> Any:
        self._number += 1
        number = self._number
        self._send({"id": number, "method": method, "params": params})
        answers: list[Any] = []
        self._wait(lambda: bool(answers), number, answers)
        return answers[0]

    def _wait(self, is_done: Any, number: int = 0, answers: list[Any] | None = None) -> None:
        end = time.monotonic() + PATIENCE
        while not is_done():
            assert time.monotonic() < end, "the server does not answer"
            message = self._take(0.5)
            if message is not None and answers is not None and message.get("id") == number and "method" not in message:
                assert "error" not in message, message
                answers.append(message.get("result"))

    def _take(self, seconds: float) -> dict[str, Any] | None:
        """Handle the next message, if one comes."""
        try:
            message = self._inbox.get(timeout=seconds)
        except queue.Empty:
            return None
        if message.get("method") == "textDocument/publishDiagnostics":
            self._diagnostics[message["params"]["uri"]] = message["params"]["diagnostics"]
        elif "method" in message and "id" in message:
            asked = message["params"].get("items", []) if message["method"] == "workspace/configuration" else None
            result = None if asked is None else [SETTINGS.get(each.get("section")) for each in asked]
            self._send({"id": message["id"], "result": result})
        return message

    def _send(self, message: dict[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self._process.stdin is not None
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self._process.stdin.flush()

    def _read(self) -> None:
        stream = self._process.stdout
        assert stream is not None
        while True:
            try:
                header = stream.readline()
                if not header:
                    return
                length = int(header.split(b":")[1])
                while stream.readline().strip():
                    pass
                self._inbox.put(json.loads(stream.read(length)))
            except ValueError:  # the stream was closed
                return
