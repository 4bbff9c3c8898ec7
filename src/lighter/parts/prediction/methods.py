"""Find the methods of prediction tasks, check that they can be called, and call them."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pytorch_lightning import LightningModule

from lighter.config.problems import close_to, nearest
from lighter.errors import ModuleTypeError, ModuleValueError, add_note
from lighter.parts.describe import describe

OF_BATCH = ("batch_idx", "dataloader_idx")
OF_TASK = ("result", "output_path")
SUFFIXES = ("_start", "_end", "_dependency")
BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
# a dependency's value would hide the argument of that name
_NO_DEPENDENCIES = ("batch", *OF_BATCH, *OF_TASK, "step_output")
_KEYS = ("dependency", "result")
_FORM = """It returns what the task needs and the state that it begins with; each may be left out:
  return {"dependency": ["softmax"], "result": []}"""


class Method:
    """A method of the family, and those of its possible arguments that it takes.

    It is called with `first` by position; it may take `offered` by name, and must take what it has `requested`. A
    method that cannot be called so is a ModuleTypeError, with `advice`.
    """

    def __init__(
        self,
        module: object,
        name: str,
        first: Sequence[str],
        offered: Sequence[str] = (),
        requested: Sequence[str] = (),
        advice: str = "",
    ) -> None:
        self.name, self.function, self.first = name, getattr(module, name), first
        signature = inspect.signature(self.function)
        takes_any = any(item.kind is inspect.Parameter.VAR_KEYWORD for item in signature.parameters.values())
        self.takes = [item for item in offered if takes_any or item in signature.parameters] + list(requested)
        try:
            # before the loop, as a prediction may have run for hours until a method is called first
            signature.bind(*first, **dict.fromkeys(self.takes))
        except TypeError as error:
            example = f"def {name}({', '.join(['self', *first, *requested])}): ..."
            raise ModuleTypeError(
                f"`{name}{signature}` cannot be called: {error}. Write it as\n  {example}{advice}"
            ) from None

    def __call__(self, /, *first: Any, **named: Any) -> Any:
        # the method is the user's, so an error in it says which one it was
        try:
            return self.function(*first, **{name: named[name] for name in self.takes})
        except Exception as error:
            add_note(error, f"in `{self.name}`")
            raise


def start_method(task: str, module: LightningModule) -> tuple[Sequence[str], Mapping[str, Any]]:
    """Call a task's start; return the dependencies that it requests, and everything that it returned."""
    name = f"predict_{task}_start"
    if not has_method(type(module), name):
        return (), {}
    returned = Method(module, name, ())()
    if not isinstance(returned, Mapping):
        raise ModuleTypeError(f"`{name}` returned {describe(returned)}. {_FORM}")
    unknown = [key for key in returned if key not in _KEYS]
    if unknown:
        raise ModuleValueError(f"`{name}` returned the key `{unknown[0]}`. {nearest(unknown[0], _KEYS)} {_FORM}")
    requested = returned.get("dependency", ())
    requested = (requested,) if isinstance(requested, str) else requested
    if not (isinstance(requested, (list, tuple)) and all(isinstance(item, str) for item in requested)):
        raise ModuleTypeError(f"`{name}` returned as `dependency` {describe(requested)}. {_FORM}")
    return tuple(dict.fromkeys(requested)), returned


def dependency_method(name: str, task: str, module: LightningModule, offered: Sequence[str]) -> Method:
    method = f"predict_{name}_dependency"
    if name in _NO_DEPENDENCIES:
        raise ModuleValueError(
            f"`predict_{task}_start` asks for the dependency `{name}`, which is no dependency:"
            f" `predict_{task}` may take a parameter of that name without asking for it"
        )
    if not has_method(type(module), method):
        known = [item for item in dir(type(module)) if item.startswith("predict_") and not item.endswith(SUFFIXES[:2])]
        raise ModuleValueError(
            f"`predict_{task}_start` asks for the dependency `{name}`, and {type(module).__name__} has no method"
            f" `{method}`. {or_write(method, name, known)}"
        )
    advice = f"\n  It may also take, by name, {', '.join(OF_BATCH)} and step_output (where there is a `predict_step`)."
    return Method(module, method, ("batch",), offered, advice=advice)


def task_method(name: str, module: LightningModule, offered: Sequence[str], requested: Sequence[str]) -> Method:
    by_name = [*OF_BATCH, "step_output (where there is a `predict_step`)", *OF_TASK]
    method = f"predict_{name}"
    advice = (
        f"\n  It may also take, by name, {', '.join(by_name)}, and the dependencies that `{method}_start` asks for."
    )
    return Method(module, method, ("batch",), offered, requested, advice)


def end_method(task: str, module: LightningModule) -> Method | None:
    """Return the method that saves a task's result, if there is one.

    Its parameters are in any order; of two, one that has another name gets the argument that is left over.
    """
    method = f"predict_{task}_end"
    if not has_method(type(module), method):
        return None
    parameters = inspect.signature(getattr(module, method)).parameters.values()
    # a parameter with a default is the method's own business
    required = [item.name for item in parameters if item.kind in BY_POSITION and item.default is item.empty]
    is_variable = any(item.kind is inspect.Parameter.VAR_POSITIONAL for item in parameters)
    if is_variable or (len(required) != len(OF_TASK) and not set(required) <= set(OF_TASK)):
        return Method(module, method, OF_TASK)
    left_over = [name for name in OF_TASK if name not in required]
    first = [name if name in OF_TASK else left_over.pop(0) for name in required]
    return Method(module, method, first, [name for name in OF_TASK if name not in first])


def or_write(method: str, name: str, methods: Iterable[str]) -> str:
    """Advise to use the method of the closest task or dependency, or to write it."""
    named = {known.removeprefix("predict_").removesuffix("_dependency"): known for known in methods}
    near = close_to(name, list(named))
    advice = f"Did you mean `{named[near]}`? Or write it" if near is not None else "Write it"
    return f"{advice}:\n  def {method}(self, batch): ..."


def has_method(kind: type, name: str) -> bool:
    return callable(getattr(kind, name, None))
