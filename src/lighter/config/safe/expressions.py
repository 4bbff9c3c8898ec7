"""The interpreter for the expressions of an untrusted config, in place of `eval`.

To arithmetic it adds names, attributes and calls, each from a table here or from the allow-list. `_imports_` imports
nothing: `np.sqrt` with `np: numpy` is looked up on the list as `numpy.sqrt`, so that no module is ever a value.
There are no comprehensions, f-strings or methods of texts and dicts: ordinary configs do without them, and each was a
way to do much with little text, or to read an attribute.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

from lighter.config.expression import REFERENCES
from lighter.config.problems import shortened
from lighter.config.safe.arithmetic import OPERATORS, Arithmetic, is_bunch, not_evaluated, parse
from lighter.config.safe.mode import RefusedError, SafeMode
from lighter.config.safe.work import NUMBERS, SCALARS, Work, is_array

BUILTINS: Mapping[str, Callable[..., Any]] = {
    each.__name__: each for each in (abs, float, int, len, list, max, min, range, round, str, sum)
}
# What may be in the arguments of these functions, however deep.
_LEAVES: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("abs", "range", "round"), NUMBERS),
    **dict.fromkeys(("float", "int"), (*NUMBERS, str)),
    **dict.fromkeys(("len", "list", "max", "min", "str"), (*SCALARS, range)),
    "sum": (*NUMBERS, range),
}
_OF_ARRAYS_TOO = ("float", "int", "len")
_MAX_DIGITS = 1000  # of `round`, which works out 10 to their power
# methods that neither write nor call what they are given; `Work.call` looks at the sizes of what they make
_OF_TENSORS = (
    "abs all amax amin any argmax argmin bool clamp clone contiguous cos detach dim double exp flatten float half int"
    " item log log_softmax long max mean median min numel permute relu reshape round sigmoid sin size softmax sqrt"
    " squeeze std sum t tanh transpose unsqueeze var view"
)
_FACTS_OF_TENSORS = "T dtype device ndim shape"
_OF_ARRAYS = "argmax argmin flatten item max mean min ravel reshape round squeeze std sum transpose var"
_FACTS_OF_ARRAYS = "T dtype ndim shape size"
_OF_MODULES = "children modules named_children named_modules named_parameters parameters"
_NO_OPERATION = (ast.expr_context, ast.Not, ast.boolop, ast.keyword)


def evaluate(
    text: str, references: Mapping[str, Any], imports: Mapping[str, str], mode: SafeMode, work: Work | None = None
) -> Any:
    """Return the value of an expression whose references are absolute.

    Raise a `RefusedError` for what safe mode does not do, and whatever Python raises, for a division by zero say.
    """
    work = work or Work()
    with work.expression():
        return _Interpreter(references, imports, mode, work).evaluate(text)


def refusals(text: str, imports: Mapping[str, str], mode: SafeMode) -> Iterator[RefusedError]:
    """Yield all that safe mode refuses in an expression, found by reading it."""
    # The reading puts this name in place of references, so nobody else may write it.
    if REFERENCES in text:
        yield RefusedError(f"`{REFERENCES}` is no name that an expression could use")
        return
    try:
        tree = parse(text)
    except RefusedError as error:
        yield error
        return
    # Parts of a dotted name, and of what is refused as a whole, are not refused once more.
    said: set[ast.AST] = set()
    for node in ast.walk(tree):
        if node in said:
            continue
        if type(node) not in _Interpreter.nodes and type(node) not in OPERATORS and not isinstance(node, _NO_OPERATION):
            said |= set(ast.walk(node))
            yield not_evaluated(node)
            continue
        if _dotted(node, imports) is not None:
            said |= set(ast.walk(node))
        refused = _refused_name(node, imports, mode)
        if refused is not None:
            yield refused


class _Interpreter(Arithmetic):
    def __init__(self, references: Mapping[str, Any], imports: Mapping[str, str], mode: SafeMode, work: Work) -> None:
        super().__init__(references.__getitem__, work)
        self.imports, self.mode = imports, mode

    def name(self, node: ast.Name) -> Any:
        if node.id in self.imports:
            return self.located(self.imports[node.id])
        raise _unknown_name(node.id)

    def attribute(self, node: ast.Attribute) -> Any:
        value, is_method = self.reached(node)
        if is_method:
            raise RefusedError(f"`{node.attr}` is called, `{node.attr}()`, or left out")
        return value

    def reached(self, node: ast.Attribute) -> tuple[Any, bool]:
        """Return what an attribute stands for, and whether it is a method of a value."""
        dotted = _dotted(node, self.imports)
        if dotted is not None and (self.mode.permits(dotted) or not _permitted_start(dotted, self.mode)):
            return self.located(dotted), False
        return _attribute(self.value(node.value), node.attr, self.work)

    def located(self, dotted: str, *, is_called: bool = False) -> Any:
        target = self.mode.locate(dotted)
        if target is None:
            raise RefusedError(f"`{dotted}` is not installed")
        # As a value it may be called by others, with any arguments.
        if not is_called:
            self.mode.check_call(dotted, target, (), {}, "callable")
        return target

    def call(self, node: ast.Call) -> Any:
        if any(keyword.arg is None for keyword in node.keywords):
            raise RefusedError("`**` before an argument is not used in expressions")
        function = self.function(node.func)
        args = [self.value(argument) for argument in node.args]
        kwargs = {str(keyword.arg): self.value(keyword.value) for keyword in node.keywords}
        return self.work.checked(function(args, kwargs))

    def function(self, node: ast.expr) -> Callable[[list[Any], dict[str, Any]], Any]:
        dotted = _dotted(node, self.imports)
        if dotted is not None and self.mode.permits(dotted):
            target = self.located(dotted, is_called=True)
            return lambda args, kwargs: self.called(dotted, target, args, kwargs)
        if isinstance(node, ast.Name) and node.id not in self.imports:
            if node.id not in BUILTINS:
                raise _unknown_name(node.id)
            return lambda args, kwargs: _call_builtin(node.id, args, kwargs, self.work)
        if isinstance(node, ast.Attribute):
            method, is_method = self.reached(node)
            if is_method:
                return lambda args, kwargs: method(*args, **kwargs)
        raise RefusedError("what is called is a function by its name, or a method of a value")

    def called(self, dotted: str, target: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
        self.work.spend_on([*args, *kwargs.values()])
        self.mode.check_call(dotted, target, args, kwargs, "default")
        return self.work.call(target, args, kwargs)

    nodes: ClassVar[dict[type[ast.AST], Callable[..., Any]]] = {
        **Arithmetic.nodes,
        ast.Attribute: attribute,
        ast.Call: call,
        ast.Name: name,
    }


def _dotted(node: ast.AST, imports: Mapping[str, str]) -> str | None:
    """Return the whole name of `np.random.rand`, where `np` is an import; otherwise None."""
    steps: list[str] = []
    while isinstance(node, ast.Attribute):
        steps.insert(0, node.attr)
        node = node.value
    return ".".join([imports[node.id], *steps]) if isinstance(node, ast.Name) and node.id in imports else None


def _permitted_start(dotted: str, mode: SafeMode) -> bool:
    steps = dotted.split(".")
    return any(mode.permits(".".join(steps[:length])) for length in range(1, len(steps)))


def _refused_name(node: ast.AST, imports: Mapping[str, str], mode: SafeMode) -> RefusedError | None:
    dotted = _dotted(node, imports)
    if dotted is not None and not mode.permits(dotted) and not _permitted_start(dotted, mode):
        return mode.refusal(dotted)
    if isinstance(node, ast.Attribute) and node.attr.startswith("_"):
        return RefusedError(f"safe mode does not read `{node.attr}`")
    if isinstance(node, ast.Name) and node.id not in {*BUILTINS, *imports, REFERENCES}:
        return _unknown_name(node.id)
    return None


def _unknown_name(name: str) -> RefusedError:
    known = ", ".join(sorted(BUILTINS))
    return RefusedError(f"safe mode knows no `{shortened(name, 60)}`", f"It has {known}, and what is on the list.")


def _attribute(value: Any, name: str, work: Work) -> tuple[Any, bool]:
    """Return `value.name`, and whether it is a method, which can only be called."""
    facts, methods, owner = _known(value)
    if name in facts.split():
        return getattr(value, name), False
    if name in methods.split():
        # Of the class, since an attribute of the value may hide it.
        method = getattr(owner, name)
        return lambda *args, **kwargs: work.call(method, (value, *args), kwargs), True
    if is_bunch(value) and dict.__contains__(value, name):
        return dict.__getitem__(value, name), False
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.nn.Module):
        # Past the `__getattr__` of an untrusted class.
        for store in ("_modules", "_parameters"):
            held = object.__getattribute__(value, "__dict__").get(store)
            if isinstance(held, dict) and dict.__contains__(held, name):
                return dict.__getitem__(held, name), False
    raise RefusedError(f"safe mode does not read `{name}` of a {type(value).__name__}")


def _known(value: Any) -> tuple[str, str, type]:
    """Return what may be read of a value, what may be called, and the class whose methods are called."""
    kind = type(value)
    torch, numpy = sys.modules.get("torch"), sys.modules.get("numpy")
    if torch is not None and kind in (torch.Tensor, torch.nn.Parameter):
        return _FACTS_OF_TENSORS, _OF_TENSORS, torch.Tensor
    if torch is not None and kind is torch.Generator:
        return "", "manual_seed initial_seed", kind
    if torch is not None and isinstance(value, torch.nn.Module):
        return "", _OF_MODULES, torch.nn.Module
    if numpy is not None and kind is numpy.ndarray and not value.dtype.hasobject:
        return _FACTS_OF_ARRAYS, _OF_ARRAYS, kind
    return "", "", kind


def _call_builtin(name: str, args: list[Any], kwargs: Mapping[str, Any], work: Work) -> Any:
    if kwargs:  # `max(..., key=...)` would call what it is given
        raise RefusedError(f"in safe mode `{name}` takes no arguments by name")
    # All that it goes through is counted, and known to be plain, before it does.
    for leaf in work.leaves(*args):
        is_special = name in _OF_ARRAYS_TOO and (is_array(leaf) or (name == "len" and _has_length(leaf)))
        if type(leaf) not in _LEAVES[name] and not is_special:
            raise RefusedError(f"in safe mode `{name}` takes no {type(leaf).__name__}")
        if type(leaf) in (str, range):
            work.spend(len(leaf))
    if (name == "sum" and len(args) > 1) or (name == "round" and any(abs(digits) > _MAX_DIGITS for digits in args[1:])):
        raise RefusedError(f"in safe mode `{name}` takes no such second argument")
    return BUILTINS[name](*args)


def _has_length(value: Any) -> bool:
    torch = sys.modules.get("torch")
    return is_bunch(value) or (torch is not None and isinstance(value, (torch.Size, torch.utils.data.Dataset)))
