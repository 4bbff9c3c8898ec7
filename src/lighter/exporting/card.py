"""The model card of an export: what is known of it, and what was not tested, in Markdown."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from typing import Any


def card_of(facts: Mapping[str, Any]) -> str:
    """Write the card of an `export.json`. It says nothing that is not in there."""
    sections = (_origin(facts), _interface(facts), _metrics(facts), _data(facts), _compute(facts), _untested(facts))
    return "\n".join(line for section in sections for line in (*section, ""))


def _origin(facts: Mapping[str, Any]) -> Iterator[str]:
    run, checkpoint, network = facts["run"], facts["checkpoint"], facts["network"]
    yield f"# {run.get('name') or run['id']}"
    yield ""
    yield f"- Network: `{network['class']}`, {network['parameters']:,} parameters"
    yield (
        f"- Run: `{run['id']}`, trained with `{shlex.join(run['command'])}`"
        if run.get("command")
        else f"- Run: {run['id']}"
    )
    yield f"- Checkpoint: `{checkpoint['file']}`, epoch {checkpoint['epoch']}, step {checkpoint['step']}"
    source = run.get("source") or {}
    if source.get("commit"):
        changed = ", with changes that were not committed" if source.get("changed") else ""
        yield f"- Code: commit `{source['commit']}`{changed}"
    else:
        yield "- Code: under no version control that the run could see"
    yield f"- Versions: {', '.join(f'{name} {version}' for name, version in facts['versions'].items())}"


def _interface(facts: Mapping[str, Any]) -> Iterator[str]:
    yield "## Inputs and outputs"
    yield ""
    yield "| | name | type | shape |"
    yield "| --- | --- | --- | --- |"
    for kind in ("inputs", "outputs"):
        for each in facts[kind]:
            shape = ", ".join(map(str, each["shape"]))
            yield f"| {kind.removesuffix('s')} | `{each['name']}` | {each['dtype']} | ({shape}) |"
    yield ""
    network = facts["network"]
    for key, transforms in (("preprocessing", "input_transforms"), ("postprocessing", "pred_transforms")):
        yield f"- {key.capitalize()} (`{transforms}`): {'in the model' if network[key] else 'not in the model'}"
    yield f"- Trained in {network['trained_in']} precision; the weights here are {', '.join(network['weights'])}"


def _metrics(facts: Mapping[str, Any]) -> Iterator[str]:
    verification, seeds = facts["verification"], facts["seeds"]
    yield "## Metrics"
    yield ""
    which = "all" if verification["data"] == "all" else verification["data"]
    # metrics are of what comes before the postprocessing
    what = "this file, before its postprocessing," if facts["network"]["postprocessing"] else "this file"
    yield f"Computed with {what} by `{verification['stage']}`, on {which} of the run's own data."
    yield ""
    if not verification["metrics"]:
        yield "The run logs none."
    else:
        yield "| metric | value | of the network | recorded by the run |"
        yield "| --- | --- | --- | --- |"
    for name, each in verification["metrics"].items():
        recorded = f"{each['recorded']:.6g}" if "recorded" in each else ""
        yield f"| `{name}` | {each['artifact']:.6g} | {each['network']:.6g} | {recorded} |"
    if seeds:
        folds = f", folds {', '.join(map(str, seeds['folds']))}" if seeds["folds"] else ""
        yield ""
        yield f"Of the runs with seeds {', '.join(map(str, seeds['seeds']))}{folds}, of which this is one:"
        yield ""
        yield "| metric | mean | 95% interval of the mean |"
        yield "| --- | --- | --- |"
        for name, each in seeds["metrics"].items():
            interval = " to ".join(f"{end:.6g}" for end in each.get("interval", ())) or "not computed"
            yield f"| `{name}` | {each['mean']:.6g} | {interval} |"


def _data(facts: Mapping[str, Any]) -> Iterator[str]:
    run = facts["run"]
    yield "## Data"
    yield ""
    for mode, sets in (run.get("data") or {}).items():
        for each in sets if isinstance(sets, list) else [sets]:
            yield f"- {mode}: {_shown(each)}"
    if not run.get("data"):
        yield "- not recorded"
    if run.get("split"):
        yield f"- split: {_shown(run['split'])}"


def _compute(facts: Mapping[str, Any]) -> Iterator[str]:
    run = facts["run"]
    hardware, trainer = run.get("hardware") or {}, run.get("trainer") or {}
    yield "## Compute"
    yield ""
    yield f"- Trained for {run['seconds']:g} s" if run.get("seconds") else "- Training time: not recorded"
    yield f"- On {trainer.get('devices', '?')} x {trainer.get('accelerator', '?')}, nodes: {trainer.get('nodes', '?')}"
    machine = [str(hardware[key]) for key in ("cpu", "gpus", "system") if hardware.get(key)]
    yield f"- Machine: {'; '.join(machine) or 'not recorded'}"


def _untested(facts: Mapping[str, Any]) -> Iterator[str]:
    verification = facts["verification"]
    yield "## Tested, and not tested"
    yield ""
    sizes = ", ".join(map(str, verification["batch_sizes"]))
    yield f"- Outputs were compared with the network's in {verification['calls']} calls, with batches of {sizes} too."
    largest = ", ".join(f"`{name}` {value:.2g}" for name, value in verification["outputs"].items())
    yield f"- Largest differences: {largest}."
    for each in facts["inputs"]:
        for length, (low, high) in zip(each["shape"], each["seen"], strict=True):
            if isinstance(length, str) and length != "batch":
                yield f"- `{each['name']}`: sizes of `{length}` below {low} and above {high} were not tested."
        if "limits" in each:
            low, high = each["limits"]
            yield f"- `{each['name']}`: integers below {low} and above {high} were not tested."
    yield "- It was run on a CPU alone. Other devices, other data than the run's, and its speed were not tested."
    yield "- Nothing is known here of fairness, robustness, or the purposes that it is fit for."


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_shown(item)}" for key, item in value.items() if item is not None)
    return value if isinstance(value, str) else json.dumps(value)
