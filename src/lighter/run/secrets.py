"""Secrets, and what stands for them in everything that is saved.

A secret is known by its key (`password`, `api_key`, `hf_token`), by its place in a URL (`https://user:password@host`,
`?token=...`), by its form (keys of well-known services, private keys), or because it is the value of an environment
variable or of another place of the config that is one. References and expressions are no secrets: they say where a
value comes from.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from lighter.config.tree import is_reference

REDACTED = "<redacted>"

_WORDS = (
    r"passwords?|passwd|passphrase|secrets?|api_?keys?|access_?keys?|private_?keys?|secret_?keys?|credentials?"
    r"|authorization|bearer|tokens?"
)
_KEY = re.compile(rf"(?:(?:^|[_\-.])(?:{_WORDS})|password|passwd|secret|api_?key)$", re.IGNORECASE)
_TOKEN = re.compile(r"tokens?$", re.IGNORECASE)
_OF_TEXT = re.compile(  # tokens of texts, which language models have
    r"(?:^|_)(?:pad|bos|eos|unk|sep|cls|class|mask|start|end|stop|image|audio|special|additional_special|prompt|new|max"
    r"|min|num|n|per|by)_tokens?(?:_ids?)?$",
    re.IGNORECASE,
)
_FORMS = re.compile(
    r"""\b(?:hf_\w{20,}|gh[pousr]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|sk-[\w-]{20,}|xox[abprs]-[\w-]{10,}
        |(?:AKIA|ASIA)[0-9A-Z]{16}|AIza[\w-]{30,}|eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]+)
        |-----BEGIN[ A-Z]*PRIVATE\ KEY-----.*?(?:-----END[ A-Z]*PRIVATE\ KEY-----|\Z)""",
    re.VERBOSE | re.DOTALL,
)
_USER_OF_URL = re.compile(r"(?P<before>\b[a-z][a-z0-9+.-]*://[^\s/:@'\"]*:)[^\s/@'\"]+(?=@)", re.IGNORECASE)
_QUERY_OF_URL = re.compile(
    rf"(?P<before>[?&](?:[\w.-]*(?:{_WORDS}|signature)|sig|key|auth)=)[^&\s'\"#]+", re.IGNORECASE
)
_BEARER = re.compile(r"(?P<before>\b(?:Bearer|Basic)\s+)[\w\-.=+/]{8,}")
_ASSIGNED = re.compile(  # in code and on command lines: `API_KEY = "..."`, `--token=...`, `"password": "..."`
    rf"(?P<before>(?P<key>\b(?:[\w\-.]*[_\-.:])?(?:{_WORDS}))[\"']?\s*(?::\s*\w+\s*)?[=:]\s*)"
    r"(?P<quote>[rbfu]{0,2}[\"'])(?P<value>[^\"'\n]{3,})(?=[\"'])",
    re.IGNORECASE,
)
_ASSIGNED_BARE = re.compile(  # in YAML and overrides: `password: ...`, `model::api_key=...`
    rf"(?P<before>(?:^|[\s:,{{-])(?P<key>(?:[\w\-.]*[_\-.])?(?:{_WORDS}))(?:=|:[ \t]+))"
    r"(?P<value>[^\s\"'$@%,{\[()|>&*][^\s\"',()\[\]{}]{2,})(?=[\s,}]|$)",
    re.IGNORECASE | re.MULTILINE,
)
_PLAIN_WORDS = {"none", "null", "true", "false", "str", "int", "bytes", "optional", "any", REDACTED}
_SHORTEST = 6  # a value that is shorter is not looked for in other texts: it would be found everywhere
_LIKE_A_TOKEN = re.compile(r"\S{16,}|(?=\S*\d)\S{8,}")  # and not one of a text: `token: cls`


def is_secret_key(key: object) -> bool:
    """Whether what stands at a key is a secret, going by the key alone."""
    return isinstance(key, str) and _KEY.search(key) is not None and _OF_TEXT.search(key) is None


class Secrets:
    """Takes secrets out of data and texts.

    Args:
        config: the merged config, as plain data.
        environment: the environment variables; those of this process if left out.
    """

    def __init__(self, config: Any = None, environment: Mapping[str, str] | None = None) -> None:
        variables = os.environ if environment is None else environment
        found = {value for name, value in variables.items() if is_secret_key(name)}
        found |= set(_values(config))
        known = sorted((value for value in found if len(value) >= _SHORTEST), key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, known))) if known else None

    def text(self, text: str) -> str:
        """A text without secrets."""
        if self._known is not None:
            text = self._known.sub(REDACTED, text)
        text = _FORMS.sub(REDACTED, text)
        for pattern in (_USER_OF_URL, _QUERY_OF_URL, _BEARER):
            text = pattern.sub(rf"\g<before>{REDACTED}", text)
        return text

    def source(self, text: str, *, is_code: bool = False) -> str:
        """The same for files, patches and command lines, in which secrets are assigned to names.

        In code, only what stands in quotes is a value.
        """
        text = _ASSIGNED.sub(_without_value, self.text(text))
        return text if is_code else _ASSIGNED_BARE.sub(_without_value, text)

    def data(self, data: Any, key: object = "") -> Any:
        """Data without secrets; the data itself is left as it is. Expressions and references stay as written."""
        if isinstance(data, Mapping):
            return {inner: self.data(value, inner) for inner, value in data.items()}
        if isinstance(data, (list, tuple)):
            items = [self.data(item, key) for item in data]
            return items if type(data) is list else tuple(items)
        if _is_secret(key, data):
            return REDACTED
        if not isinstance(data, str):
            return data
        return self.source(data, is_code=True) if is_reference(data) else self.text(data)


def missing(data: Any, path: str = "") -> Iterator[str]:
    """The paths of data that was saved, at which a secret was left out."""
    if isinstance(data, Mapping):
        for key, value in data.items():
            yield from missing(value, f"{path}::{key}" if path else str(key))
    elif isinstance(data, (list, tuple)):
        for index, value in enumerate(data):
            yield from missing(value, f"{path}::{index}")
    elif isinstance(data, str) and REDACTED in data:
        yield path


def _is_secret(key: object, value: Any) -> bool:
    if not is_secret_key(key):
        return False
    is_token = _TOKEN.search(str(key)) is not None
    if isinstance(value, str):
        is_word = not value or value.lower() in _PLAIN_WORDS or (is_token and not _LIKE_A_TOKEN.fullmatch(value))
        return not is_word and not is_reference(value)
    return isinstance(value, (int, float, bytes)) and not isinstance(value, bool) and not is_token


def _values(data: Any, key: object = "") -> Iterator[str]:
    """The secrets that stand in a config."""
    if isinstance(data, Mapping):
        for inner, value in data.items():
            yield from _values(value, inner)
    elif isinstance(data, (list, tuple)):
        for value in data:
            yield from _values(value, key)
    elif isinstance(data, str) and _is_secret(key, data):
        yield data


def _without_value(match: re.Match[str]) -> str:
    if not _is_secret(match["key"], match["value"]) or REDACTED in match["value"]:
        return match[0]
    quote = match.groupdict().get("quote") or ""
    return f"{match['before']}{quote}{REDACTED}"
