"""An interpreter for the expressions of a stranger's config, in place of `eval`.

It walks Python's syntax tree. A kind of node that has no method here is refused; so is a name that is neither a
function of `values.FUNCTIONS`, nor a variable of a comprehension, nor on the allow-list. `_imports_` imports nothing:
`np.sqrt` with `np: numpy` is looked up on the list as `numpy.sqrt`, so that no module is ever a value.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from lighter.config.expression import REFERENCES, syntax_tree
from lighter.config.problems import shortened
from lighter.config.safe import values
from lighter.config.safe.mode import RefusedError, SafeMode

MAX_LENGTH = 2000
_MAX_DEPTH = 60
_NAMES = {
    ast.Lambda: "a lambda",
    ast.NamedExpr: "an assignment",
    ast.Await: "await",
    ast.Yield: "yield",
    ast.YieldFrom: "yield",
    ast.Starred: "`*` before an argument",
}
_NOT_NODES = (ast.expr_context, ast.operator, ast.unaryop, ast.boolop, ast.cmpop, ast.comprehension, ast.keyword)


def refusals(text: str, imports: Mapping[str, str], mode: SafeMode) -> Iterator[RefusedError]:
    """All that safe mode refuses in an expression, found by reading it."""
    if REFERENCES in text:
        yield RefusedError(f"`{REFERENCES}` is no name that an expression could use")
        return
    try:
        tree = parse(text)
    except RefusedError as error:
        yield error
        return
    bound = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    whole: set[ast.AST] = set()  # names and attributes that are part of a dotted name
    for node in ast.walk(tree):
        if not isinstance(node, _NOT_NODES) and type(node) not in _EVALUATE:
            yield _unknown(node)
        elif node not in whole:
            if _dotted(node, imports, bound) is not None:
                whole |= set(ast.walk(node))
            refused = _refused_name(node, imports, bound, mode)
            if refused is not None:
                yield refused


def parse(text: str) -> ast.expr:
    """The syntax tree of an expression of a reasonable size.

    Raises:
        RefusedError: it is none.
    """
    if len(text) > MAX_LENGTH:
        raise RefusedError(f"an expression has at most {MAX_LENGTH} characters")
    try:
        tree = syntax_tree(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error) or "it is nested too deeply"
        raise RefusedError(f"this is no expression: {shortened(reason, 100)}") from None
    if _depth(tree) > _MAX_DEPTH:
        raise RefusedError(f"an expression is nested at most {_MAX_DEPTH} deep")
    return tree


def evaluate(
    text: str,
    references: Mapping[str, Any],
    imports: Mapping[str, str],
    mode: SafeMode,
    work: values.Work | None = None,
) -> Any:
    """The value of an expression whose references are absolute.

    Args:
        work: what the expressions of the same config have done so far.

    Raises:
        RefusedError: it does something that safe mode does not.
        Exception: what Python raises for it, a division by zero say.
    """
    work = work or values.Work()
    with work.expression():
        return values.counted(_Interpreter(references, imports, mode, work).value(parse(text)), work)


class _Interpreter:
    """Works out one expression."""

    def __init__(
        self, references: Mapping[str, Any], imports: Mapping[str, str], mode: SafeMode, work: values.Work
    ) -> None:
        self.references, self.imports, self.mode, self.work = references, imports, mode, work
        self.variables: dict[str, Any] = {}

    def value(self, node: ast.AST) -> Any:
        self.work.spend()
        evaluate = _EVALUATE.get(type(node))
        if evaluate is None:
            raise _unknown(node)
        return evaluate(self, node)

    def constant(self, node: ast.Constant) -> Any:
        if type(node.value) not in (bool, int, float, str, type(None), type(...)):
            raise RefusedError(f"a {type(node.value).__name__} is not used in expressions")
        return values.checked(node.value, self.work)

    def name(self, node: ast.Name) -> Any:
        if node.id in self.variables:
            return self.variables[node.id]
        if node.id in self.imports:
            return self.located(self.imports[node.id])
        raise _unknown_name(node.id)

    def attribute(self, node: ast.Attribute) -> Any:
        found, is_method = self.reached(node)
        if is_method:
            raise RefusedError(f"`{node.attr}` is called, `{node.attr}()`, or left out")
        return found

    def reached(self, node: ast.Attribute) -> tuple[Any, bool]:
        """What an attribute stands for, and whether it is a method of a value."""
        dotted = _dotted(node, self.imports, self.variables)
        if dotted is not None and (self.mode.permits(dotted) or not _permitted_start(dotted, self.mode)):
            return self.located(dotted), False
        return values.attribute(self.value(node.value), node.attr, self.work)

    def located(self, dotted: str, *, is_called: bool = False) -> Any:
        """What a name on the list stands for; as a value it may be called by others, with any arguments."""
        found = self.mode.locate(dotted)
        if found is None:
            raise RefusedError(f"`{dotted}` is not installed")
        if not is_called:
            self.mode.check_call(dotted, found, (), {}, "callable")
        return found

    def call(self, node: ast.Call) -> Any:
        if any(keyword.arg is None for keyword in node.keywords):
            raise RefusedError("`**` before an argument is not used in expressions")
        function = self.function(node.func)
        args = [self.value(argument) for argument in node.args]
        kwargs = {str(keyword.arg): self.value(keyword.value) for keyword in node.keywords}
        return values.checked(function(args, kwargs), self.work)

    def function(self, node: ast.expr) -> Callable[[list[Any], dict[str, Any]], Any]:
        """What is called, taking the arguments as a list and a dict."""
        dotted = _dotted(node, self.imports, self.variables)
        if dotted is not None and self.mode.permits(dotted):
            found = self.located(dotted, is_called=True)
            return lambda args, kwargs: self.called(dotted, found, args, kwargs)
        if isinstance(node, ast.Name) and node.id not in self.variables and node.id not in self.imports:
            if node.id not in values.FUNCTIONS:
                raise _unknown_name(node.id)
            known = values.FUNCTIONS[node.id]
            return lambda args, kwargs: known(self.work, *args, **kwargs)
        if isinstance(node, ast.Attribute):
            method, is_method = self.reached(node)
            if is_method:
                return lambda args, kwargs: method(*args, **kwargs)
        raise RefusedError("what is called is a function by its name, or a method of a value")

    def called(self, dotted: str, found: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
        self.work.spend_on([*args, *kwargs.values()])
        self.mode.check_call(dotted, found, args, kwargs, "default")
        return self.work.call(found, args, kwargs)

    def subscript(self, node: ast.Subscript) -> Any:
        if isinstance(node.value, ast.Name) and node.value.id == REFERENCES:
            return self.references[ast.literal_eval(node.slice)]
        return values.item(self.value(node.value), self.value(node.slice), self.work)

    def bounds(self, node: ast.Slice) -> slice:
        bounds = [None if part is None else self.value(part) for part in (node.lower, node.upper, node.step)]
        if not all(type(bound) in (bool, int, type(None)) for bound in bounds):
            raise RefusedError("the bounds of a slice are integers")
        return slice(*bounds)

    def list_display(self, node: ast.List) -> list[Any]:
        return [self.value(element) for element in node.elts]

    def tuple_display(self, node: ast.Tuple) -> tuple[Any, ...]:
        return tuple(self.value(element) for element in node.elts)

    def set_display(self, node: ast.Set) -> set[Any]:
        return {self.key(element) for element in node.elts}

    def dict_display(self, node: ast.Dict) -> dict[Any, Any]:
        return {self.key(key): self.value(value) for key, value in zip(node.keys, node.values, strict=True)}

    def key(self, node: ast.expr | None) -> Any:
        if node is None:
            raise RefusedError("`**` in a dict is not used in expressions")
        key = self.value(node)
        values.measure(key, self.work)
        return key

    def binary(self, node: ast.BinOp) -> Any:
        return values.binary(node.op, self.value(node.left), self.value(node.right), self.work)

    def unary(self, node: ast.UnaryOp) -> Any:
        value = self.value(node.operand)
        return not values.truth(value) if isinstance(node.op, ast.Not) else values.unary(node.op, value, self.work)

    def boolean(self, node: ast.BoolOp) -> Any:
        stop = isinstance(node.op, ast.Or)
        for part in node.values[:-1]:
            value = self.value(part)
            if values.truth(value) is stop:
                return value
        return self.value(node.values[-1])

    def comparison(self, node: ast.Compare) -> Any:
        left, result = self.value(node.left), True
        for symbol, operand in zip(node.ops, node.comparators, strict=True):
            right = self.value(operand)
            result = values.compare(symbol, left, right, self.work)
            if len(node.ops) > 1 and not values.truth(result):
                return result
            left = right
        return result

    def condition(self, node: ast.IfExp) -> Any:
        return self.value(node.body if values.truth(self.value(node.test)) else node.orelse)

    def joined(self, node: ast.JoinedStr) -> str:
        return str(values.checked("".join(str(self.value(part)) for part in node.values), self.work))

    def formatted(self, node: ast.FormattedValue) -> str:
        if node.conversion != -1 or node.format_spec is not None:
            raise RefusedError("an f-string has names and values between its braces, and no formats")
        return values.text(self.value(node.value))

    def comprehension(self, node: Any) -> list[Any]:
        return [self.value(node.elt) for _ in self.rounds(node.generators)]

    def set_comprehension(self, node: ast.SetComp) -> set[Any]:
        return {self.key(node.elt) for _ in self.rounds(node.generators)}

    def dict_comprehension(self, node: ast.DictComp) -> dict[Any, Any]:
        return {self.key(node.key): self.value(node.value) for _ in self.rounds(node.generators)}

    def rounds(self, generators: list[ast.comprehension]) -> Iterator[None]:
        """One round for each element of a comprehension, its variables set."""
        if not generators:
            yield
            return
        first, *rest = generators
        if first.is_async:
            raise RefusedError("safe mode does not evaluate `async`")
        before = dict(self.variables)
        for element in values.iterate(self.value(first.iter), self.work):
            self.work.spend()
            self.assign(first.target, element)
            if all(values.truth(self.value(condition)) for condition in first.ifs):
                yield from self.rounds(rest)
        self.variables = before

    def assign(self, target: ast.expr, value: Any) -> None:
        if isinstance(target, ast.Name):
            self.variables[target.id] = value
        elif isinstance(target, (ast.Tuple, ast.List)):
            parts = values.iterate(value, self.work)
            if len(parts) != len(target.elts):
                raise ValueError(f"{len(parts)} values for {len(target.elts)} names")
            for inner, part in zip(target.elts, parts, strict=True):
                self.assign(inner, part)
        else:
            raise RefusedError("a comprehension sets names, and nothing else")


_EVALUATE: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Attribute: _Interpreter.attribute,
    ast.BinOp: _Interpreter.binary,
    ast.BoolOp: _Interpreter.boolean,
    ast.Call: _Interpreter.call,
    ast.Compare: _Interpreter.comparison,
    ast.Constant: _Interpreter.constant,
    ast.Dict: _Interpreter.dict_display,
    ast.DictComp: _Interpreter.dict_comprehension,
    ast.FormattedValue: _Interpreter.formatted,
    ast.GeneratorExp: _Interpreter.comprehension,
    ast.IfExp: _Interpreter.condition,
    ast.JoinedStr: _Interpreter.joined,
    ast.List: _Interpreter.list_display,
    ast.ListComp: _Interpreter.comprehension,
    ast.Name: _Interpreter.name,
    ast.Set: _Interpreter.set_display,
    ast.SetComp: _Interpreter.set_comprehension,
    ast.Slice: _Interpreter.bounds,
    ast.Subscript: _Interpreter.subscript,
    ast.Tuple: _Interpreter.tuple_display,
    ast.UnaryOp: _Interpreter.unary,
}


def _dotted(node: ast.AST, imports: Mapping[str, str], bound: Any) -> str | None:
    """The whole name of `np.random.rand`, where `np` is an import and no variable; otherwise None."""
    steps: list[str] = []
    while isinstance(node, ast.Attribute):
        steps.insert(0, node.attr)
        node = node.value
    if not isinstance(node, ast.Name) or node.id in bound or node.id not in imports:
        return None
    return ".".join([imports[node.id], *steps])


def _permitted_start(dotted: str, mode: SafeMode) -> bool:
    """Whether a dotted name begins with something on the list, of which the rest are attributes."""
    steps = dotted.split(".")
    return any(mode.permits(".".join(steps[:length])) for length in range(1, len(steps)))


def _refused_name(node: ast.AST, imports: Mapping[str, str], bound: set[str], mode: SafeMode) -> RefusedError | None:
    dotted = _dotted(node, imports, bound)
    if dotted is not None and not mode.permits(dotted) and not _permitted_start(dotted, mode):
        return mode.refusal(dotted)
    if isinstance(node, ast.Attribute) and node.attr.startswith("_"):
        return RefusedError(f"safe mode does not read `{node.attr}`")
    known = {*values.FUNCTIONS, *bound, *imports, REFERENCES}
    if isinstance(node, ast.Name) and node.id not in known:
        return _unknown_name(node.id)
    return None


def _unknown_name(name: str) -> RefusedError:
    known = ", ".join(sorted(values.FUNCTIONS))
    return RefusedError(f"safe mode knows no `{shortened(name, 60)}`", f"It has {known}, and what is on the list.")


def _unknown(node: ast.AST) -> RefusedError:
    return RefusedError(f"safe mode does not evaluate {_NAMES.get(type(node), type(node).__name__)}")


def _depth(tree: ast.AST) -> int:
    """How deep a tree is nested, found without recursion."""
    depth, level = 0, [tree]
    while level:
        depth += 1
        level = [child for node in level for child in ast.iter_child_nodes(node)]
    return depth
