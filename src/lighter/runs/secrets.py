"""Detect secrets, and replace them in everything that is saved: data, texts, source files.

A secret is recognized by its key (`password`, `api_key`, every leaf of a dict `api_keys`), by its place in a text
(the password in a URL, `Password=...;`, `--token ...`), by the format of a well-known service, or because it is the
value of an environment variable, or of another place of the config, that is one. References and expressions are no
secrets: they say where a value comes from.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from lighter.config.tree import is_reference

REDACTED = "<redacted>"
_STRONG, _WEAK = "strong", "weak"  # weak: the key is used for other things too, so the value has to look like a token

_SERVICES = (
    r"wandb|weights_and_biases|neptune|comet(?:_?ml)?|clearml|mlflow|swanlab|aws|azure|google|open_?ai"
    r"|anthropic|cohere|mistral|hf|hugging_?face|kaggle|git_?hub|git_?lab|slack|discord|telegram|twilio|send_?grid"
    r"|stripe|shopify|sentry|datadog|databricks|replicate|roboflow|account|auth|master|consumer|subscription|deploy"
    r"|ssh|fernet|jwt|license"
)
_QUALIFIER = r"(?:_?\d+|_(?:value|string|text|prod|production|dev|staging|live))?$"  # `api_key_2`, `password_prod`
_STRONG_KEY = re.compile(
    r"(?:(?:^|_)(?:pwd|passphrases?|passcodes?|credentials?|creds|authorization|bearer|conn(?:ection)?_str(?:ing)?"
    r"|(?:api|access|private|secret|signing|encryption|decryption|hmac)_?keys?)|passwords?|passwd|secrets?|apikeys?)"
    + _QUALIFIER
)
_WEAK_KEY = re.compile(
    rf"(?:(?:^|_)(?:tokens?|auth|jwt|cookies?|webhooks?|webhook_url|(?:{_SERVICES})_keys?)|apitoken)" + _QUALIFIER
)
_OF_TEXT = re.compile(  # tokens of texts, which language models have
    r"(?:^|_)(?:pad|bos|eos|unk|sep|cls|class|mask|start|end|stop|image|audio|special|additional_special|prompt|new|max"
    r"|min|num|n|per|by)_tokens?(?:_ids?)?$"
)

# The formats are facts that the services document. `detect-secrets` was tried for them: without its entropy checks,
# which report every second word of a config, it knows 8 of the 18 formats in the tests, and it brings a HTTP client.
_FORMATS = [
    line
    for line in (Path(__file__).parent / "secret_formats.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("# ")
]
_FORMAT = re.compile(rf"(?<![A-Za-z0-9])(?:{'|'.join(_FORMATS)})", re.DOTALL)
_HOOKS = (  # URLs whose path is a secret
    *(r"hooks\.slack\.com/(?:services|workflows|triggers)/", r"discord(?:app)?\.com/api/(?:v\d+/)?webhooks/"),
    *(r"office\.com/webhook(?:b2)?/", r"hooks\.zapier\.com/hooks/catch/", r"api\.telegram\.org/(?:file/)?bot(?=\d)"),
)
_AFTER = tuple(  # what follows these is a secret
    re.compile(rf"(?P<before>{before}){secret}", re.IGNORECASE)
    for before, secret in (
        (r"\b[a-z][a-z0-9+.-]*://[^\s/:@'\"]*:", r"[^\s/'\"]+(?=@)"),
        (r"\b[a-z][a-z0-9+.-]*://", r"(?=[^\s/@:]*\d)[\w.~-]{16,}(?=@)"),
        (r"[?&](?:sig|key|auth|[\w.-]*(?:signature|token|api_?key|passw(?:or)?d|secret))=", r"[\w%][^&\s'\"#]+"),
        (r"\b(?:AccountKey|SharedAccessKey|SharedAccessSignature)=", r"[^;\s'\"]+"),
        (rf"\b(?:{'|'.join(_HOOKS)})", r"[\w/:@-]+"),
        (r"\b(?:Bearer|Basic)\s+", r"(?=\S*[\d=+/])[\w\-.=+/]{8,}"),
        (r"\bwandb\.login\(\s*(?:key\s*=\s*)?['\"]", r"[^'\"]+"),
    )
)
_NAME = r"(?P<key>[A-Za-z_][\w.-]*(?:::[\w.-]+)*)"
_QUOTED = re.compile(  # `API_KEY = "..."`, `"password": "..."`, `--token "..."`
    rf"(?P<before>(?<![\w.]){_NAME}[\"']?\]?(?:\s*(?::\s*\w+\s*)?(?:[=!]=|[=:])\s*|(?<=\w)\s+(?=[\"']))[rbfu]{{0,2}}"
    r"(?P<quote>[\"']))(?P<value>(?:(?!(?P=quote))[^\n\\]|\\.){3,})(?=(?P=quote))"
)
_BARE = re.compile(  # `password: ...` in YAML, `model::api_key=...`, `Server=...;Pwd=...;`, `?token=...`
    rf"(?P<before>(?<![\w.]){_NAME}(?:[ \t]*=[ \t]*|:[ \t]+))"
    r"(?P<value>[^\s\"'$@%,{\[()|>&*;=][^\s\"',()\[\]{};&]{2,})(?=[\s,}\]);&\"']|$)",
    re.MULTILINE,
)
_FLAG = re.compile(r"(?P<before>(?<![\w-])--?(?P<key>[A-Za-z][\w-]*)[ \t]+)(?P<value>[^\s\"'$-][^\s\"',;]{2,})")

_PLAIN_WORDS = {"none", "null", "true", "false", "str", "int", "bytes", "optional", "any", "bearer", "basic", REDACTED}
_REMEMBERED = 200  # characters of a text whose redacted form is kept
_SHORTEST = 6  # a value that is shorter is not looked for in other texts: it would be found everywhere
_LIKE_A_TOKEN = re.compile(r"(?=\S*\d)\S{8,}|\S*[A-Za-z]{16,}\S*")
_VERSION = re.compile(r"\d+(?:\.\d+)+[\w.+-]*")  # of a package that is called `detect-secrets`
_PATH = re.compile(r"(?:~|\.{1,2})?/[\w.-]+(?:/[\w.-]+)*/?")
_FILE = re.compile(r"[\w.-]+(?:/[\w.-]+)*\.[a-z][a-z0-9]{1,4}")
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*")
_LITERAL = re.compile(r"\$\s*[rbu]{0,2}(['\"]).*\1\s*", re.DOTALL)
_CALL = "()"  # what a path has for a definition, whose arguments may say where a secret is read from


class Secrets:
    """Replace secrets in data and texts, also those that the config, as plain data, and the environment have."""

    def __init__(self, config: Any = None, environment: Mapping[str, str] | None = None) -> None:
        variables = os.environ if environment is None else environment
        values = {value for name, value in variables.items() if _is_secret(name, value)}
        values |= {value for path, value in _leaves(config) if isinstance(value, str) and _is_secret(path, value)}
        # the longest first, as one may begin with another
        known = sorted((value for value in values if len(value) >= _SHORTEST), key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, known))) if known else None

    def text(self, text: str, *, is_code: bool = False) -> str:
        """Return a text without secrets. In code, only what stands in quotes is a value."""
        # a record is written again and again, with the same names of packages and settings
        redact = _redacted if len(text) < _REMEMBERED else _redacted.__wrapped__
        return redact(self._known, text, is_code)

    def data(self, data: Any, path: str = "") -> Any:
        """Return a copy of data without secrets. Expressions and references stay as written."""
        if isinstance(data, Mapping):
            return {
                self.text(key, is_code=True) if isinstance(key, str) else key: self.data(value, below)
                for key, value, below in _items(data, path)
            }
        if isinstance(data, (list, tuple)):
            items = [self.data(item, below) for item, below in _elements(data, path)]
            return items if type(data) is list else tuple(items)
        if isinstance(data, (set, frozenset)):
            return type(data)(self.data(item, path) for item in data)
        if _is_secret(path, data):
            return REDACTED
        return self.text(data, is_code=is_reference(data)) if isinstance(data, str) else data


@lru_cache(maxsize=20_000)
def _redacted(known: re.Pattern[str] | None, text: str, is_code: bool) -> str:
    if known is not None:
        text = known.sub(REDACTED, text)
    text = _FORMAT.sub(REDACTED, text)
    for pattern in _AFTER:
        text = pattern.sub(rf"\g<before>{REDACTED}", text)
    for pattern in (_QUOTED,) if is_code else (_QUOTED, _BARE, _FLAG):
        text = pattern.sub(_without_value, text)
    return text


def missing(data: Any, path: str = "", mark: str = REDACTED) -> Iterator[str]:
    """Yield the paths in saved data at which a secret, or something else that has a mark, was left out."""
    if isinstance(data, Mapping):
        for key, value in data.items():
            inner = f"{path}::{key}" if path else str(key)
            yield from [inner] if mark in str(key) else missing(value, inner, mark)
    elif isinstance(data, (list, tuple)):
        for index, value in enumerate(data):
            yield from missing(value, f"{path}::{index}", mark)
    elif isinstance(data, str) and mark in data:
        yield path


def _items(data: Mapping[Any, Any], path: str) -> Iterator[tuple[Any, Any, str]]:
    # each with the path by which it is judged
    outer = f"{path}::{_CALL}" if "_target_" in data else path
    for key, value in data.items():
        yield key, value, outer if key == "_args_" else f"{outer}::{key}"


def _elements(data: Sequence[Any], path: str) -> Iterator[tuple[Any, str]]:
    # an item that follows the name of an option is its value: `[--token, ...]`
    before: Any = None
    for item in data:
        is_option = isinstance(before, str) and before.startswith("-") and before.strip("-")
        yield item, before.lstrip("-") if is_option and _strength(before.lstrip("-")) else path
        before = item


def _leaves(data: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(data, Mapping):
        for _, value, below in _items(data, path):
            yield from _leaves(value, below)
    elif isinstance(data, (list, tuple)):
        for value, below in _elements(data, path):
            yield from _leaves(value, below)
    else:
        yield path, data


@lru_cache(maxsize=10_000)
def _strength(path: str) -> str | None:
    # by the last key, or that of a dict around it
    keys = [_normal(key) for key in path.split("::")]
    if keys[-1].startswith("_") and keys[-1].endswith("_"):  # `_target_`
        return None
    strength: str | None = None
    for index, key in enumerate(keys):
        if _OF_TEXT.search(key):
            strength = None
        elif key == _CALL:
            strength = strength if strength == _STRONG else None
        else:
            outer = keys[index - 1] if index and key in ("key", "keys", "token", "value") else ""
            name = f"{outer}_{key}" if outer and outer != _CALL else key
            strength = _STRONG if _STRONG_KEY.search(name) else _WEAK if _WEAK_KEY.search(name) else strength
    return strength


def _normal(key: str) -> str:
    # `apiKey`, `x-api-key` and `API KEY` are `api_key`
    return re.sub(r"[\s.\-/]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", key)).lower()


def _is_secret(path: str, value: Any) -> bool:
    strength = _strength(path)
    if strength is None:
        return False
    # an argument may name a variable or a file that holds the secret, or be a number of tokens
    is_argument = _CALL in path.split("::")
    if not isinstance(value, str):
        is_number = isinstance(value, (int, float, bytes)) and not isinstance(value, bool)
        return is_number and strength == _STRONG and not is_argument
    if is_reference(value):
        return strength == _STRONG and _LITERAL.fullmatch(value) is not None
    if not re.search(r"\w", value) or value.lower() in _PLAIN_WORDS or _VERSION.fullmatch(value):
        return False
    if _PATH.fullmatch(value) and not _normal(path).endswith(("password", "passphrase")):
        return False
    if is_argument and _VARIABLE.fullmatch(value):
        return False
    is_token = _LIKE_A_TOKEN.fullmatch(value) is not None and _FILE.fullmatch(value) is None
    return strength == _STRONG or is_token


def _without_value(match: re.Match[str]) -> str:
    if REDACTED in match["value"] or not _is_secret(match["key"], match["value"]):
        return match[0]
    return f"{match['before']}{REDACTED}"
