"""Fetch the text of a config from a URL. It is not trusted, so it is read in safe mode only."""

from __future__ import annotations

import urllib.error
import urllib.request
from typing import Any

TIMEOUT = 20  # seconds


class RemoteError(Exception):
    """The reason why a URL cannot be read."""


def fetch(url: str, most: int) -> bytes:
    """Return the content of a URL: at most so many bytes, and one more where there is more. Raise a `RemoteError`."""
    opener = urllib.request.build_opener(_HttpsOnly)
    try:
        _check(url)
        with opener.open(url, timeout=TIMEOUT) as response:
            data: bytes = response.read(most + 1)
    except (OSError, ValueError, urllib.error.URLError) as error:
        raise RemoteError(f"it cannot be fetched: {getattr(error, 'reason', None) or error}") from error
    return data


def _check(url: str) -> None:
    if not url.lower().startswith("https://"):
        raise RemoteError("a config is fetched by https:// only, so that nobody changes it on the way")


class _HttpsOnly(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        _check(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)
