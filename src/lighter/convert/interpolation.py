"""OmegaConf's `${a.b}` as our references and expressions.

A whole `${a.b}` becomes `@a::b`, or `%a::b` where it stands for a definition, dict or list, which OmegaConf copies. In
a longer text it becomes part of an f-string; `${oc.env:X}` is read from `os.environ`.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator, Sequence

from lighter.config import yaml
from lighter.config.problems import Problems
from lighter.config.tree import SEPARATOR, Node, Source, is_reference
from lighter.convert.gaps import Gaps

Path = tuple[str, ...]
_RESOLVER = re.compile(r"([A-Za-z_][\w.]*)\s*:(.*)\Z", re.DOTALL)
_STEP = re.compile(r"[^.\[\]]+")
_REFERABLE = re.compile(r"\w+\Z")
_LITERAL = re.compile(r"None|True|False|-?\d{1,20}(?:\.\d+)?(?:e[+-]?\d{1,4})?")  # as `repr` writes it
_NO_CODE = re.compile(r"\b(?:inf|nan)\b")  # which `repr` writes, and Python does not read
_MAX_STEPS = 10
_HYDRA = {"runtime.output_dir": "@run::folder", "runtime.cwd": "os.getcwd()"}


def pieces(text: str) -> Iterator[tuple[str, bool]]:
    """Yield the literal pieces of a text, and the contents of its interpolations, which are marked by True."""
    start = at = 0
    while (begin := text.find("${", at)) >= 0:
        end = _closing(text, begin + 2)
        if end < 0:
            break
        at = end + 1
        if text[begin - 1 : begin] == "\\":
            yield text[start : begin - 1] + text[begin:at], False
        else:
            if begin > start:
                yield text[start:begin], False
            yield text[begin + 2 : end], True
        start = at
    if start < len(text):
        yield text[start:], False


def _closing(text: str, at: int) -> int:
    depth = 1
    for index in range(at, len(text)):
        depth += (text[index] == "{") - (text[index] == "}")
        if depth == 0:
            return index
    return -1


def referred(text: object, at: Path) -> Iterator[Path]:
    """Yield the source paths that a value's interpolations stand for, those within resolvers' arguments too."""
    for content, is_interpolation in pieces(text) if isinstance(text, str) else ():
        if not is_interpolation:
            continue
        resolver = _RESOLVER.match(content)
        if resolver is None:
            yield steps_of(content, at)
        else:
            yield from referred(resolver[2], at)


def steps_of(content: str, at: Path) -> Path:
    """Return the path that `a.b[0]`, or a relative `.b` in a value at some path, stands for."""
    content = content.strip()
    levels = len(content) - len(content.lstrip("."))
    base = at[: len(at) - levels] if levels else ()
    return (*base, *_STEP.findall(content))


def literal(text: str) -> str:
    """Return a text as a value that is no reference here."""
    return f"${text!r}" if is_reference(text) else text


class Interpolations:
    """Translate the interpolations of a tree.

    `places` says where a path of the source is in the converted config: `places(path)` is None where it is left out.
    """

    def __init__(self, root: Node, places: Callable[[Path], Path | None], gaps: Gaps) -> None:
        self.root, self.places, self.gaps = root, places, gaps
        self.imports: dict[str, str] = {}

    def value(self, node: Node, at: Path) -> object:
        """Return the value of a text of the source at some path."""
        parts = [*pieces(str(node.value))]
        if not any(is_interpolation for _, is_interpolation in parts):
            return literal("".join(text for text, _ in parts))
        codes = [(self._code(text, node, at) if is_code else text, is_code) for text, is_code in parts]
        if any(code is None for code, _ in codes):
            return None
        if len(codes) == 1:
            return self._whole(str(codes[0][0]), parts[0][0], at)
        return "$" + _joined([(str(code), is_code) for code, is_code in codes])

    def text_of(self, node: Node, at: Path) -> object:
        """Return the value that a whole interpolation stands for; another value as it is."""
        for _ in range(_MAX_STEPS):
            parts = [*pieces(node.value)] if isinstance(node.value, str) else []
            target = None
            if len(parts) == 1 and parts[0][1]:
                at = steps_of(parts[0][0], at)
                target = self.root.find(SEPARATOR.join(at))
            if target is None:
                break
            node = target
        return node.value

    def _whole(self, code: str, content: str, at: Path) -> object:
        if not code.startswith("@"):
            return _plain(code)
        target = self.root.find(SEPARATOR.join(steps_of(content, at)))
        return f"%{code[1:]}" if target is not None and isinstance(target.value, (dict, list)) else code

    def _code(self, content: str, node: Node, at: Path) -> str | None:
        resolver = _RESOLVER.match(content)
        if resolver is not None:
            return self._resolved(resolver[1], resolver[2].strip(), node, at)
        steps = steps_of(content, at)
        if "$" not in content and self.root.find(SEPARATOR.join(steps)) is None:
            return self._gap(node, at, content, "it refers to nothing", "Write the value.")
        place = self.places(steps) if "$" not in content else None
        if place is None or not all(map(_REFERABLE.match, place)):
            return self._gap(node, at, content, "what it refers to is not in the config", "Write the value.")
        return "@" + SEPARATOR.join(place)

    def _resolved(self, name: str, rest: str, node: Node, at: Path) -> str | None:
        if name in ("oc.env", "env"):
            return self._environment(rest, node, at)
        if name == "hydra" and rest in _HYDRA:
            self._import("os", _HYDRA[rest])
            found = f"`${{hydra:{rest}}}` is `{_HYDRA[rest]}` here"
            self.gaps.note(node, ".".join(at), found, "Nothing to write.")
            return _HYDRA[rest]
        if name == "now":
            self._import("datetime", "datetime.")
            found = f"`${{now:{rest}}}` is the time at which the value is read, in each process"
            self.gaps.note(node, ".".join(at), found, "A run has its own folder, named by its time: `@run::folder`.")
            return f"datetime.datetime.now().strftime({_quoted(rest)})"
        if name == "oc.select":
            key, _, default = rest.partition(",")
            is_there = self.root.find(SEPARATOR.join(steps_of(key, at))) is not None
            return self._code(key, node, at) if is_there else self._default(default.strip() or "null", node, at)
        return self._gap(
            node, at, f"{name}:{rest}", "this resolver is unknown here", "Write a value, or `$` and Python."
        )

    def _environment(self, rest: str, node: Node, at: Path) -> str | None:
        self._import("os", "os.")
        name, comma, default = rest.partition(",")
        if not comma:
            found = f"it reads the environment variable {name.strip()}, which the script may have set"
            self.gaps.note(node, ".".join(at), found, "Set it where you start `lighter`, or write the value.")
            return f"os.environ[{_quoted(name.strip())}]"
        if default.strip() in ("null", "None"):
            return f"os.environ.get({_quoted(name.strip())})"
        text = self._text(default.strip().strip("'\""), node, at)
        return None if text is None else f"os.environ.get({_quoted(name.strip())}, {text})"

    def _text(self, text: str, node: Node, at: Path) -> str | None:
        """Return the code of a text with interpolations."""
        parts = [*pieces(text)]
        codes = [(self._code(part, node, at) if is_code else part, is_code) for part, is_code in parts]
        known = [(code, is_code) for code, is_code in codes if code is not None]
        if len(known) < len(codes):
            return None
        return known[0][0] if len(known) == 1 and known[0][1] else _sum(known)

    def _default(self, text: str, node: Node, at: Path) -> str | None:
        """Return the code of a resolver's argument: a value as YAML has it, or a text with interpolations."""
        problems = Problems()
        read = None if "${" in text else yaml.parse(Source("a default", text), problems)
        if read is None or problems or _NO_CODE.search(repr(read.plain())):
            return self._text(text, node, at)
        return _quoted(read.value) if isinstance(read.value, str) else repr(read.plain())

    def _gap(self, node: Node, at: Path, content: str, why: str, write: str) -> str | None:
        shown = f"`${{{content}}}`: {why}; here is null"
        self.gaps.open(node, ".".join(at), shown, write)
        return None

    def _import(self, module: str, code: str) -> None:
        if code.startswith(f"{module}."):
            self.imports[module] = module


class Places:
    """Where paths of the source are in the converted config: the longest known beginning decides."""

    def __init__(self) -> None:
        self._of: dict[Path, Path | None] = {}

    def put(self, source: Sequence[str], place: Sequence[str] | None) -> None:
        self._of[tuple(source)] = None if place is None else tuple(place)

    def __call__(self, path: Path) -> Path | None:
        for length in range(len(path), -1, -1):
            if path[:length] in self._of:
                place = self._of[path[:length]]
                return None if place is None else (*place, *path[length:])
        return None


def _joined(parts: Sequence[tuple[str, bool]]) -> str:
    """Return the code of a text of literal pieces and, marked by True, of code."""
    # Python 3.11 takes no quote of its own, and no backslash, within the braces of an f-string.
    if any(is_code and set(code) & set("'\"\\") for code, is_code in parts):
        return _sum(parts)
    escaped = str.maketrans({"\\": "\\\\", "'": "\\'", "{": "{{", "}": "}}", "\n": "\\n"})
    return "f'" + "".join(f"{{{code}}}" if is_code else code.translate(escaped) for code, is_code in parts) + "'"


def _sum(parts: Sequence[tuple[str, bool]]) -> str:
    """Return the same without an f-string, as code that may be anywhere."""
    return " + ".join(f"str({code})" if is_code else _quoted(code) for code, is_code in parts) or '""'


def _plain(code: str) -> object:
    """Return the number, boolean or null that code is; other code as an expression."""
    return ast.literal_eval(code) if _LITERAL.fullmatch(code) else f"${code}"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
