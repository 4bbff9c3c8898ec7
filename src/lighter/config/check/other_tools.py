"""Words of other tools, and what the word is here: hints for those who bring a config along."""

from __future__ import annotations

import re

from lighter.config.problems import Problem
from lighter.config.tree import SEPARATOR, Node

_WHOLE = "`lighter convert` does it for the whole file."
_BASES = "The files that a config builds on are named by `_base_: [a.yaml, b.yaml]`."
_SECTIONS = {
    "seed_everything": f"Write `seed`. {_WHOLE}",
    "__base__": _BASES,
    "_bases_": _BASES,
    "base": _BASES,
    "bases": _BASES,
    "defaults": f"{_BASES} {_WHOLE}",
    "extends": _BASES,
    "include": _BASES,
    "_requires_": f"Names for expressions come from `_imports_: {{np: numpy}}`. {_WHOLE}",
    "_meta_": "A run is named by `run::name`; values of any kind stand in `vars`.",
    "hydra": f"Runs have their folder from `run: {{dir: outputs, name: ...}}`. {_WHOLE}",
    "ckpt_path": "Write `--ckpt_path`, or `args: {fit: {ckpt_path: ...}}`.",
    "lr_scheduler": "Write `model::scheduler`.",
    "class_path": "The module is `model: {_target_: ...}`.",
}
_OF_MODULE = ("network", "criterion", "optimizer", "scheduler", "train_metrics", "val_metrics", "test_metrics")
_OF_DATA = ("train_dataloader", "val_dataloader", "test_dataloader", "predict_dataloader")
_OF_SYSTEM = ("dataloaders", "metrics", "adapters", "inferer")
OF_TRAINER = (
    *("accelerator", "callbacks", "devices", "logger", "max_epochs", "max_steps", "plugins", "precision", "profiler"),
    *("strategy", "limit_train_batches", "limit_val_batches", "fast_dev_run", "accumulate_grad_batches"),
    *("gradient_clip_val", "log_every_n_steps", "val_check_interval", "check_val_every_n_epoch", "deterministic"),
)
_CLI_KEYS = {"class_path", "init_args", "dict_kwargs"}
_INTERPOLATION = re.compile(r"\$\{\s*([A-Za-z_]\w*)((?:\.\w+)*)(?:\s*:\s*([^}]*))?\s*\}")
_RESOLVERS = ("oc", "env", "now", "hydra")


def hint_of_section(name: str, *, module: str) -> str:
    """Return a hint for a top-level key of another tool; empty for other keys. The section `module` has the module."""
    for names, section in ((_OF_MODULE, module), (_OF_DATA, "data"), (_OF_SYSTEM, "system"), (OF_TRAINER, "trainer")):
        if name in names:
            return f"It belongs into a section: `{section}::{name}`."
    return _SECTIONS.get(name, "")


def is_of_cli(value: object) -> bool:
    """Return whether a value is an object as LightningCLI writes it: `{class_path: a.B, init_args: {...}}`."""
    return isinstance(value, dict) and "class_path" in value and {str(key) for key in value} <= _CLI_KEYS


def check_cli(path: str, node: Node, problems: list[Problem]) -> None:
    if is_of_cli(node.value):
        named = node.value["class_path"]
        message = "this is how LightningCLI writes an object"
        hint = f"Write `_target_: {named.value}`, and beside it the arguments that are in `init_args`. {_WHOLE}"
        problems.append(Problem(message, named.place, path, hint))


def interpolation_in(text: str, root: Node) -> str | None:
    """Return what to write for OmegaConf's `${a.b}` in a text; None where there is none."""
    for match in _INTERPOLATION.finditer(text):
        name, steps, rest = match[1], match[2], match[3]
        if name in _RESOLVERS and (rest is not None or steps):
            variable = (rest or "NAME").partition(",")[0].strip()
            is_variable = name == "env" or steps == ".env"
            return f"`$os.environ['{variable}']`, with `_imports_: {{os: os}}`." if is_variable else "`$` and Python."
        if root.child(name) is not None and rest is None:
            reference = f"@{name}{steps.replace('.', SEPARATOR)}"
            return f"`{reference}`." if match[0] == text.strip() else f"`$f'...{{{reference}}}...'`."
    return None
