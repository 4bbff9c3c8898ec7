"""The section `report`: its keys, and what can be told of the module's class before it is built."""

from __future__ import annotations

from lighter.config.check.calls import plain
from lighter.config.problems import WARNING
from lighter.config.tree import SEPARATOR, join
from lighter.engine.check.constructors import is_known
from lighter.engine.check.context import Context
from lighter.engine.check.sections import has_mistakes, values_of
from lighter.engine.report import REPORT

_OUTPUT = "out_features"


def check_report(context: Context) -> None:
    """Add a problem for each mistake in `report`, where it is written."""
    section = values_of(context, REPORT)
    if section is None:
        return
    from lighter.callbacks.evaluation.settings import mistakes

    path, values = section
    if not has_mistakes(context, path, values, mistakes):
        _check_stage(context, path)
        _check_outputs(context, path, values)


def _check_stage(context: Context, path: str) -> None:
    """Warn of a fit that evaluates nothing."""
    loader = ("system", "dataloaders", "val") if context.section == "system" else ("data", "val_dataloader")
    is_ours = context.section == "system" or _is_lighters_data(context)
    # a member of an experiment has the split of its fold
    splits = any(context.tree.find(each) is not None for each in ("data::split", "experiment::folds"))
    if context.stage == "fit" and is_ours and not splits and context.argument(*loader) is None:
        message = "a report is of evaluations, and this fit has no validation: `test` and `validate` record theirs"
        context.problem(message, path, f"Add `{SEPARATOR.join(loader)}`.", WARNING)


def _is_lighters_data(context: Context) -> bool:
    kind = context.kind("data")
    return kind is not None and kind.__module__ == "lighter.data"


def _check_outputs(context: Context, path: str, values: dict[str, object]) -> None:
    """Compare the number of classes with the outputs of a network that ends with a linear layer."""
    classes = values.get("classes")
    count = len(classes) if isinstance(classes, list) else classes
    if values.get("task") != "classification" or type(count) is not int or not is_known(classes):
        return
    outputs = _outputs(context)
    # one output may be the logit of two classes
    if outputs is not None and outputs != count and outputs != 1:
        message = f"`report` has {count} classes, and the last layer of the network {outputs} outputs"
        context.problem(message, join(path, "classes"), "Name the class of each output, in their order.")


def _outputs(context: Context) -> int | None:
    """Return the outputs of a `Sequential` that ends with a `Linear`; None where it is anything else."""
    keys = ("model", "network") if context.section == "system" else ("network", "model")
    network = next((found for key in keys if (found := context.argument(context.section, key)) is not None), None)
    kind = context.kind(network[0]) if network is not None else None
    if network is None or kind is None or kind.__module__ != "torch.nn.modules.container":
        return None
    layers = context.argument(network[0], "_args_")
    if kind.__name__ != "Sequential" or layers is None or not isinstance(layers[1].value, list) or not layers[1].value:
        return None
    last = join(layers[0], len(layers[1].value) - 1)
    kind = context.kind(last)
    if kind is None or f"{kind.__module__}.{kind.__name__}" != "torch.nn.modules.linear.Linear":
        return None
    outputs = context.plain(last, _OUTPUT)
    if outputs is None:
        positional = context.argument(last, "_args_")
        arguments = plain(positional[1]) if positional is not None else []
        outputs = arguments[1] if isinstance(arguments, list) and len(arguments) > 1 else None
    return outputs if type(outputs) is int else None
