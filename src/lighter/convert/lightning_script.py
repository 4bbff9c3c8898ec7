"""The script that calls LightningCLI, read without running it: its classes, links, added sections and defaults.

Only literals and imported names are understood; anything else stays a gap, as if there were no script.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lighter.config.problems import Problem, nearest
from lighter.config.tree import Node, Origin, Source
from lighter.convert.nodes import added, below, dict_of
from lighter.errors import ConfigError
from lighter.files.atomic import read_text

_CLI = "LightningCLI"
_READ_METHODS = ("__init__", "add_arguments_to_parser")
_STAGES = tuple(f"trainer.{stage}" for stage in ("fit", "validate", "test", "predict"))
_POSITIONAL = ("model_class", "datamodule_class")
_NOT_READ = ("trainer_class", "parser_kwargs")


@dataclass(frozen=True)
class Link:
    """A link of one argument's value to another's; `computed` where a function is between them."""

    source: str
    target: str
    origin: Origin
    computed: bool = False
    of_object: bool = False


@dataclass
class Script:
    """The content of a script: `classes` of the sections, `defaults` by the path of an argument, links."""

    path: Path
    classes: dict[str, str] = field(default_factory=dict)
    links: list[Link] = field(default_factory=list)
    defaults: dict[str, object] = field(default_factory=dict)
    seed: object = None
    callback_keys: set[str] = field(default_factory=set)
    unread: list[tuple[str, Origin]] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    """The names that the script imports and defines, with what they stand for."""


def read_script(path: Path) -> Script:
    """Return what a script says of its LightningCLI; a `ConfigError` where it calls none, or is no Python."""
    text = _content(path)
    source = Source(str(path), text, folder=path.parent, is_file=True)
    try:
        tree = ast.parse(text)
        reader = _Reader(path, source, tree)
        reader.visit(tree)
    except SyntaxError as error:
        origin = Origin(source, error.lineno or 1, error.offset or 1)
        raise ConfigError([Problem(f"this is not Python: {error.msg}", origin)]) from None
    except ValueError as error:
        raise ConfigError([Problem(f"this is not Python: {error}", Origin(source))]) from None
    except (RecursionError, MemoryError):  # how the parser, and a walk of its tree, refuse deep nesting
        raise ConfigError([Problem("an expression in it is nested too deep to be read", Origin(source))]) from None
    if not reader.is_of_cli:
        hint = "Give the script that calls it, or none."
        origin = Origin(Source(str(path), is_unread=True))
        raise ConfigError([Problem("this script does not call LightningCLI", origin, hint=hint)])
    return reader.script


def _content(path: Path) -> str:
    # Of a file that cannot be read there is no line and no column.
    origin, hint = Origin(Source(str(path), is_unread=True)), ""
    try:
        return read_text(path).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        wrong = f"this is not UTF-8 text: line {line} has the byte 0x{error.object[error.start]:02x}"
        hint = "Save the file as UTF-8."
    except FileNotFoundError:
        wrong, hint = "there is no such file", nearest(path, sorted(path.parent.glob("[!.]*.py")))
    except IsADirectoryError:
        wrong = "this is a folder, not a file"
    except (OSError, ValueError) as error:
        wrong = f"this file cannot be read: {getattr(error, 'strerror', None) or error}"
    raise ConfigError([Problem(wrong, origin, hint=hint)])


class _Reader(ast.NodeVisitor):
    def __init__(self, path: Path, source: Source, tree: ast.Module) -> None:
        self.script, self.source = Script(path), source
        self.names = self.script.names
        self.clis = {_CLI}
        self.variables: set[str] = set()
        self.called: ast.Call | None = None
        self.has_class = False
        for statement in ast.walk(tree):
            self._bind(statement, path.stem)

    def _bind(self, statement: ast.AST, module: str) -> None:
        if isinstance(statement, ast.Import):
            self.names |= {alias.asname: alias.name for alias in statement.names if alias.asname}
        elif isinstance(statement, ast.ImportFrom):
            package = "." * statement.level + (statement.module or "")
            for alias in statement.names:
                name = alias.asname or alias.name
                self.names[name] = f"{package}.{alias.name}"
                if alias.name.endswith("CLI"):  # LightningCLI, or by its name a class of it from elsewhere
                    self.clis.add(name)
        elif isinstance(statement, ast.ClassDef):
            self.names[statement.name] = f"{module}.{statement.name}"
            if any(self._last(base) in self.clis for base in statement.bases):
                self.clis.add(statement.name)
                self.has_class = True

    @staticmethod
    def _last(node: ast.AST) -> str:
        return ast.unparse(node).rpartition(".")[2]

    def _origin(self, node: ast.expr) -> Origin:
        return Origin(self.source, node.lineno, node.col_offset + 1)

    def _class(self, node: ast.expr | None) -> str | None:
        """Return the dotted name that an expression stands for; None for others, and for relative imports."""
        if not isinstance(node, (ast.Name, ast.Attribute)):
            return None
        first, _, rest = ast.unparse(node).partition(".")
        name = self.names.get(first, first if rest else "")
        return None if name.startswith(".") or not name else f"{name}.{rest}" if rest else name

    @property
    def is_of_cli(self) -> bool:
        """True if the script calls LightningCLI, or defines a class of it, which another script calls."""
        return self.called is not None or self.has_class

    def visit_Assign(self, node: ast.Assign) -> None:
        self._name(node.targets, node.value)
        self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self._name([node.target], node.value)
        self.generic_visit(node)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self._name([node.target], node.value)
        self.generic_visit(node)

    def _name(self, targets: Sequence[ast.expr], value: ast.expr | None) -> None:
        if isinstance(value, ast.Call) and self._last(value.func) in self.clis:
            self.variables |= {target.id for target in targets if isinstance(target, ast.Name)}

    def _leave(self, node: ast.expr) -> None:
        self.script.unread.append((ast.unparse(node), self._origin(node)))

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for method in node.body if node.name in self.clis else ():
            if isinstance(method, ast.FunctionDef) and method.name not in _READ_METHODS:
                origin = Origin(self.source, method.lineno, method.col_offset + 1)
                self.script.unread.append((f"{node.name}.{method.name}", origin))
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        name = self._last(node.func)
        if self._is_of_object(node):
            self._leave(node)
            return
        if name in self.clis and name != "super":
            self._cli(node)
        elif name == "link_arguments":
            self._link(node)
        elif name in ("add_optimizer_args", "add_lr_scheduler_args"):
            self._section(node, "optimizer" if name == "add_optimizer_args" else "lr_scheduler")
        elif name in ("add_lightning_class_args", "add_subclass_arguments", "add_class_arguments"):
            self._section(node, None)
        elif name == "set_defaults":
            self._defaults(node)
        elif name == "add_argument":
            self._leave(node)
        self.generic_visit(node)

    def _is_of_object(self, node: ast.Call) -> bool:
        """Return whether a call uses what LightningCLI made, other than to run a stage: `cli.model.prepare()`."""
        variable, _, rest = ast.unparse(node.func).partition(".")
        return variable in self.variables and rest not in _STAGES

    def _is_own(self, called: ast.expr) -> bool:
        """Return whether a class is one of the script, whose methods are read."""
        return self.names[self._last(called)].rpartition(".")[0] == self.script.path.stem

    def _cli(self, node: ast.Call) -> None:
        if self.called is not None:  # which of them a config is for, only its user knows
            self._leave(node)
            return
        self.called = node
        imported = self.names.get(self._last(node.func), "")
        if imported.endswith("CLI") and imported.rpartition(".")[2] != _CLI and not self._is_own(node.func):
            self._leave(node.func)
        for keyword in node.keywords:
            if keyword.arg in _NOT_READ:
                self.script.unread.append((f"{keyword.arg}={ast.unparse(keyword.value)}", self._origin(keyword.value)))
        given = dict(zip(_POSITIONAL, node.args, strict=False))
        given |= {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg}
        for key, section in (("model_class", "model"), ("datamodule_class", "data")):
            name = self._class(given.get(key))
            if name is not None:
                self.script.classes[section] = name
        seed = given.get("seed_everything_default")
        self.script.seed = seed.value if isinstance(seed, ast.Constant) else None
        defaults = given.get("trainer_defaults")
        for key, value in _items(defaults) if defaults is not None else ():
            self._default(f"trainer.{key}", value)

    def _link(self, node: ast.Call) -> None:
        given = dict(zip(("source", "target", "compute_fn", "apply_on"), node.args, strict=False))
        given |= {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg}
        source, target = (_text(given.get(key)) for key in ("source", "target"))
        if source is None or target is None:
            self._leave(node)
            return
        computed, of_object = "compute_fn" in given, _text(given.get("apply_on")) == "instantiate"
        self.script.links.append(Link(source, target, self._origin(node), computed, of_object))

    def _section(self, node: ast.Call, key: str | None) -> None:
        given = dict(zip(("class", "nested_key"), node.args, strict=False))
        given |= {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg}
        section = _text(given.get("nested_key")) or key
        name = self._class(given.get("class"))
        if section is None or name is None:
            self._leave(node)
            return
        self.script.classes[section] = name
        if self._last(node.func) == "add_lightning_class_args":
            self.script.callback_keys.add(section)

    def _defaults(self, node: ast.Call) -> None:
        for argument in node.args:
            for key, value in _items(argument):
                self._default(key, value)

    def _default(self, path: str, value: ast.expr) -> None:
        try:
            self.script.defaults[path] = ast.literal_eval(value)
        except (ValueError, TypeError, MemoryError, RecursionError):  # as its documentation lists them
            self.script.unread.append((f"{path} = {ast.unparse(value)}", self._origin(value)))


def _items(node: ast.expr) -> list[tuple[str, ast.expr]]:
    if not isinstance(node, ast.Dict):
        return []
    return [
        (key.value, value)
        for key, value in zip(node.keys, node.values, strict=True)
        if isinstance(key, ast.Constant) and isinstance(key.value, str)
    ]


def _text(node: ast.expr | None) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def with_script(source: Node, script: Script) -> Node:
    """Return a config as it would be if it held what the script says."""
    root = source.copy()
    for path, value in script.defaults.items():
        _set_default(root, path.split("."), value)
    if type(script.seed) is int:
        root.value.setdefault("seed_everything", added(script.seed))
    for section, name in script.classes.items():
        node = root.value.get(section)
        if node is None and section not in ("model", "data") and section not in script.callback_keys:
            continue
        root.value[section] = _of_class(added({}) if node is None or node.value is None else node, name)
    callbacks = [root.value.pop(section) for section in script.classes if section in script.callback_keys]
    if callbacks:
        trainer = root.value.setdefault("trainer", added({}))
        trainer.value = dict_of(trainer, "trainer")
        own = trainer.value.get("callbacks")
        listed = [] if own is None or own.value is None else own.value if isinstance(own.value, list) else [own]
        trainer.value["callbacks"] = added([*listed, *callbacks])
    return root


def _set_default(root: Node, steps: list[str], value: object) -> None:
    for step in steps[:-1]:
        child = root.value.get(step)
        if child is None or child.value is None:
            child = root.value[step] = added({})
        root = child
        if not isinstance(root.value, dict):
            return
    if steps[-1] not in root.value:
        root.value[steps[-1]] = _node(value)


def _node(value: object) -> Node:
    if isinstance(value, dict):
        return added({key: _node(child) for key, child in value.items()})
    return added([_node(child) for child in value] if isinstance(value, (list, tuple)) else value)


def _of_class(node: Node, name: str) -> Node:
    if not isinstance(node.value, dict) or "class_path" in node.value:
        return node
    return below(node, {"class_path": added(name), "init_args": added(dict(node.value))})
