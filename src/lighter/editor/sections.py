"""Lighter's own sections and keys: their texts and schemas."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lighter.callbacks.evaluation.settings import KEYS as REPORT_KEYS
from lighter.callbacks.evaluation.settings import TASKS
from lighter.config.check.sections import MAX_SEED, RUN_OPTIONS, SECTIONS
from lighter.config.defaults import LOGGERS
from lighter.config.tree import MODES, SPECIAL
from lighter.editor.calls import ANY, VALUE, with_operators
from lighter.editor.values import LATE, NUMBER, Schema
from lighter.engine.check.trainer import AT_LEAST_ONE, DEVICES, known_names
from lighter.experiments.section import KEYS as EXPERIMENT_KEYS
from lighter.experiments.section import SEARCH_KEYS
from lighter.launch.section import KINDS as LAUNCH_KINDS
from lighter.parallel.settings import KEYS as PARALLEL_KEYS
from lighter.parallel.settings import PATTERNS, STYLE_KEYS, STYLES
from lighter.parts.optimization.schedulers import KEYS as SCHEDULER_KEYS
from lighter.splits.settings import KINDS, LEAKS, SETTINGS
from lighter.system import ADAPTERS
from lighter.system import MODES as SYSTEM_MODES

SECTION_TEXTS = {
    "model": "The LightningModule: a lighter.LighterModule of yours, or any other.",
    "system": "An experiment without Python code, lighter.System: instead of `model` and `data`.",
    "data": "The LightningDataModule. Optional if the module has its own dataloaders; `split` cuts its dataset.",
    "trainer": "Arguments of the trainer; `_target_` only if it is not lighter.Trainer.",
    "vars": "Any values, for other places to refer to: @vars::name is the object, %vars::name a copy.",
    "_imports_": "Names for expressions: `{np: numpy}` makes `$np.pi` possible.",
    "args": "Default arguments of the stages: of trainer.fit, validate, test and predict.",
    "seed": "Set before anything is built, in dataloader workers too; 0 by default.",
    "project": "A folder that is importable as `project`, relative to this file.",
    "run": "Where runs are saved, as text without references.",
    "experiment": "Many fits of this config: seeds, folds, a search space. `lighter sweep` runs them.",
    "launch": "What the job of `--launch slurm` asks for.",
    "report": "Evaluations to be recorded for `lighter report`.",
    "parallel": "One network on several processes: FSDP2 and tensor parallelism.",
    "_base_": "Files that come before this one, relative to it.",
}
SPECIAL_TEXTS = {
    "_target_": "The class or function that is called with the other keys as arguments: package.module.Name",
    "_args_": "Positional arguments.",
    "_mode_": "default: call it. callable: make a functools.partial. debug: call it under the debugger.",
    "_disabled_": "true removes the object from the dict or list that contains it.",
}
_STAGE_TEXT = "Default arguments of trainer.{}, which the command line overrides."
_RUN_TEXTS = {"dir": "The folder of all runs; `outputs` by default.", "name": "The last part of the run's folder."}
_EXPERIMENT_TEXTS = {
    "objective": "`min` or `max` and the name of a logged value, or a list of these: min val/loss/epoch",
    "seeds": "How many seeds each trial is trained with, from the config's own on; or a list of them.",
    "folds": "Each trial is trained on each fold: the settings of `data::split`, without `fold`.",
    "search": "What is tried: the space and the method.",
    "executor": "Where members run: local, slurm or ray.",
    "retries": "How often a member that failed is started again; 0 by default.",
}
_LAUNCH_TEXTS = {
    "kind": "Where jobs are submitted.",
    "requeue": "Whether the job is requeued at its time limit, a preemption or a node's failure; or how often at most.",
    "time": "The limit of one job, as sbatch has it.",
    "notice": "Seconds before the limit at which the fit is told to save.",
    "nodes": "How many; `trainer::num_nodes` is the same.",
    "tasks": "Processes that SLURM starts on each node; of several nodes, `trainer::devices` by default.",
    "cpus": "Of each process.",
    "gpus": "On each node.",
    "memory": "On each node: 32GB.",
    "partition": "As for sbatch.",
    "account": "As for sbatch.",
    "qos": "As for sbatch.",
    "constraint": "As for sbatch.",
    "gres": "As for sbatch.",
    "setup": "Shell lines before the start: [module load cuda].",
    "options": "Any other options of sbatch: {reservation: course}.",
}
_SEARCH_TEXTS = {
    "space": "Paths of this config, each with its values: a list, or {from, to, scale, step}.",
    "method": "random, grid, sobol, tpe, or one of Optuna's samplers.",
    "trials": "How many points of the space are tried.",
    "where": "Constraints on the values, as expressions.",
    "zip": "Paths whose values change together.",
    "schedule": "When trials are paused, and which of them resume.",
}
_REPORT_TEXTS = {
    "task": "What is evaluated.",
    "classes": "The names of the classes, or how many there are.",
    "samples": "The size of each sheet of samples; 0 for none.",
    "pred": "The key or index of the predictions, in what the step returns or in the batch.",
    "target": "The key or index of the targets.",
    "input": "The key or index of the inputs.",
    "multilabel": "True where a sample may have several classes.",
    "logits": "True where predictions are logits and not probabilities.",
}
_PARALLEL_TEXTS = {
    "data": "How many processes have data of their own; `auto` for all that `tensor` leaves.",
    "tensor": "Over how many processes each layer of `plan` is divided; 1 by default.",
    "shard": "Patterns of the modules whose weights are gathered together; by default the items of each ModuleList.",
    "checkpoint_activations": "Patterns of the modules whose activations are computed again in the backward pass.",
    "compile": "Patterns of the modules that torch.compile compiles.",
    "plan": "A style for the layers of each pattern: colwise, rowwise, sequence or replicate.",
}
_SPLIT_TEXTS = {
    "kind": "How the dataset is cut.",
    "splitter": "In place of `kind`: an object with scikit-learn's interface.",
    "n": "How many folds; 5 by default.",
    "fold": "The fold that is the validation side, from 0 on.",
    "seed": "Of the shuffling; it is not the config's.",
    "shuffle": "False to cut without shuffling first.",
    "labels": "The label of each sample, or where to find it.",
    "groups": "The group of each sample, or where to find it.",
    "times": "The time of each sample, or where to find it.",
    "gap": "How many samples are left out before the validation side of a time series.",
    "repeats": "How often all folds are made anew.",
    "file": "JSON with the indices of both sides, or split.npz of a run.",
    "leaks": "What is done about inputs that both sides have.",
    "predict": "`val`: predict the validation side.",
    "dataset": "The dataset to be cut, for a data module that makes its own loaders.",
    "n_samples": "How many samples there are, for a data module that makes its own loaders.",
}
_SCHEDULER_TEXTS = {
    "scheduler": "The scheduler: a definition without `optimizer`, which is added.",
    "warmup": "A warm-up beside it: {steps: 500, kind: linear}.",
    "manual": "True to step it with the optimizer, and not by Lightning.",
    "interval": "When Lightning steps it.",
    "frequency": "Every so many intervals.",
    "monitor": "The logged value that ReduceLROnPlateau watches.",
    "strict": "True to end the fit where `monitor` is missing.",
    "name": "The name by which LearningRateMonitor logs it.",
    "reduce_on_plateau": "True where it takes the monitored value.",
}
_MODE_TEXTS = dict.fromkeys(SYSTEM_MODES, "Of this mode.")
_ADAPTER_TEXTS = {
    "batch": "From a batch to input, target and identifier: lighter.adapters.BatchAdapter",
    "criterion": "To the arguments of the loss: lighter.adapters.CriterionAdapter",
    "metrics": "To the arguments of the metrics: lighter.adapters.MetricsAdapter",
    "logging": "Of what the step returns: lighter.adapters.LoggingAdapter",
}
_LATE_TEXT: Schema = {"type": ["string", "object"], "pattern": LATE, "required": ["_target_"]}
_TEXT: Schema = {"type": "string"}
_SECTION: Schema = {"type": ["object", "string", "null"], "pattern": LATE}


def keys_schema(keys: Iterable[str], texts: Mapping[str, str], schemas: Mapping[str, Schema] | None = None) -> Schema:
    """Return the schema of a dict of our own, which has these keys and no others."""
    schemas = schemas or {}
    properties = {key: {"description": texts.get(key, ""), **schemas.get(key, ANY)} for key in sorted(keys)}
    return {"properties": properties, **with_operators(properties), "additionalProperties": False}


def one_of(values: Iterable[object]) -> Schema:
    return {"anyOf": [{"enum": [*values]}, _LATE_TEXT]}


def special_schemas() -> dict[str, Schema]:
    """Return the schemas of the keys of a definition that are no arguments."""
    schemas: dict[str, Schema] = {
        "_target_": _TEXT,
        "_args_": {"type": ["array", "string"], "pattern": LATE, "items": VALUE},
        "_mode_": {"anyOf": [{"enum": [*MODES]}, _LATE_TEXT]},
        "_disabled_": {"type": ["boolean", "string"], "pattern": f"{LATE}|^(true|false|True|False|TRUE|FALSE)$"},
    }
    return {key: {"description": SPECIAL_TEXTS[key], **schemas[key]} for key in SPECIAL}


def section_schemas() -> dict[str, Schema]:
    """Return the schema of each section that does not depend on a target, and of `_base_`."""
    search = keys_schema(SEARCH_KEYS, _SEARCH_TEXTS, {key: {} for key in SEARCH_KEYS})
    of_experiment = {**{key: {} for key in EXPERIMENT_KEYS}, "search": search}
    written_out = {"type": "string", "pattern": "^(?![@$])"}
    schemas: dict[str, Schema] = {
        **{key: {**_SECTION, **ANY} for key in ("model", "system", "data", "trainer", "vars")},
        "_imports_": {**_SECTION, **with_operators([]), "additionalProperties": _TEXT},
        "args": _SECTION,
        "seed": {
            "type": ["integer", "string"],
            "minimum": 0,
            "maximum": MAX_SEED,
            "pattern": f"^%|{NUMBER}",
            "default": 0,
        },
        "project": {"type": ["string", "null"]},
        "run": {**_SECTION, **keys_schema(RUN_OPTIONS, _RUN_TEXTS, dict.fromkeys(RUN_OPTIONS, written_out))},
        "experiment": {**_SECTION, **keys_schema(EXPERIMENT_KEYS, _EXPERIMENT_TEXTS, of_experiment)},
        "launch": {**_SECTION, **keys_schema(_LAUNCH_TEXTS, _LAUNCH_TEXTS, {"kind": one_of(LAUNCH_KINDS)})},
        "report": {**_SECTION, **keys_schema(REPORT_KEYS, _REPORT_TEXTS, {"task": one_of(TASKS)})},
        "parallel": {**_SECTION, **keys_schema(PARALLEL_KEYS, _PARALLEL_TEXTS, _parallel_schemas())},
        "_base_": {"type": ["string", "array"], "items": _TEXT},
    }
    return {key: {"description": SECTION_TEXTS[key], **schemas[key]} for key in (*SECTIONS, "_base_")}


def _parallel_schemas() -> dict[str, Schema]:
    size: Schema = {"type": ["integer", "string"], "minimum": 1, "pattern": f"{LATE}|{NUMBER}"}
    patterns: Schema = {"type": ["array", "string"], "items": _TEXT}
    layout: Schema = {"type": ["integer", "string"], "pattern": f"{LATE}|{NUMBER}|^replicate$"}
    keys = {"style": one_of(STYLES), "input": layout, "output": layout}
    style: Schema = {"anyOf": [*one_of(STYLES)["anyOf"], {"type": "object", **keys_schema(STYLE_KEYS, {}, keys)}]}
    return {
        "data": {**size, "pattern": f"{LATE}|{NUMBER}|^auto$"},
        "tensor": size,
        **dict.fromkeys(PATTERNS, patterns),
        "plan": {"type": ["object", "string"], "pattern": LATE, "additionalProperties": style},
    }


def stage_schema(stage: str, arguments: Mapping[str, Schema]) -> Schema:
    """Return the schema of the arguments of one stage."""
    keys: Schema = {"properties": {**arguments}, **with_operators(arguments), "additionalProperties": False}
    text = {"description": _STAGE_TEXT.format(stage), **_SECTION}
    return {**text, **(keys if arguments else {})}


def trainer_schemas() -> dict[str, Schema]:
    """Return what the check knows of a trainer's arguments, beside their annotations."""
    names = known_names()
    loggers = {"type": ["object", "string", "array", "boolean", "null"], "pattern": LATE, "items": one_of(LOGGERS)}
    return {
        # The check compares the names of strategies in lower case.
        "strategy": {"anyOf": [{"enum": names["strategy"]}, {**_LATE_TEXT, "pattern": f"{LATE}|[A-Z]"}]},
        "accelerator": one_of(names["accelerator"]),
        "logger": {"anyOf": [{"enum": [*LOGGERS]}, loggers]},
        "devices": {"pattern": f"{LATE}|^({DEVICES.pattern})$"},
        **{key: {"minimum": 1} for key in AT_LEAST_ONE},
    }


def split_schema() -> Schema:
    """Return the schema of `data::split`."""
    choices = {"kind": one_of(KINDS), "leaks": one_of(LEAKS), "splitter": ANY}
    return {
        "description": "Cut one dataset in a training and a validation side.",
        **keys_schema(SETTINGS, _SPLIT_TEXTS, choices),
    }


def scheduler_schema() -> Schema:
    """Return the schema of a scheduler's dict, which is no definition."""
    choices = {"interval": {**ANY, **one_of(("epoch", "step"))}}
    return keys_schema(SCHEDULER_KEYS, _SCHEDULER_TEXTS, choices)


def mode_schemas() -> dict[str, Schema]:
    """Return the schemas of those arguments of a System that are given by mode."""
    adapters = _plain(keys_schema(ADAPTERS, _ADAPTER_TEXTS))
    return {
        "dataloaders": _plain(keys_schema(SYSTEM_MODES, _MODE_TEXTS)),
        "metrics": _plain(keys_schema(SYSTEM_MODES[:3], _MODE_TEXTS)),
        "adapters": _plain(keys_schema(SYSTEM_MODES, _MODE_TEXTS, dict.fromkeys(SYSTEM_MODES, adapters))),
    }


def _plain(schema: Schema) -> Schema:
    # What is defined as an object has that one's arguments.
    return {"if": {"not": {"required": ["_target_"]}}, "then": schema}
