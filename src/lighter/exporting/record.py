"""The content of `export.json`: an export's origin, its inputs and outputs, and how it was verified."""

from __future__ import annotations

import hashlib
import json
import math
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from lighter.exporting.artifact import Artifact
from lighter.exporting.calls import dtype_name, template
from lighter.exporting.differences import TOLERANCES, Differences
from lighter.exporting.dimensions import Input
from lighter.exporting.evaluation import Evaluation
from lighter.exporting.prepare import Options, Prepared
from lighter.exporting.seeds import seeds_of
from lighter.files.run_folder import RunFolder
from lighter.runs.provenance import versions
from lighter.runs.read import read_run

FORMAT = 1
_PACKAGES = ("lighter", "torch", "pytorch-lightning", "numpy", "onnx", "onnxscript", "onnxruntime")
_KEPT = ("started", "seconds", "command", "source", "hardware", "data", "split", "trainer")


@dataclass(frozen=True)
class Evidence:
    """Measurements of the verification: differences of outputs, batch sizes, metrics of the network and the artifact.

    `recorded` are the metrics that the run logged itself at the checkpoint's step.
    """

    outputs: Differences
    sizes: list[int]
    metrics: Mapping[str, tuple[float, float]]
    recorded: Mapping[str, float]


@dataclass(frozen=True)
class Origin:
    """The run, the checkpoint's file, and the kind of the export."""

    run: RunFolder
    checkpoint: Path
    kind: str


def describe_export(
    origin: Origin, evaluation: Evaluation, options: Options, prepared: Prepared, artifact: Artifact, evidence: Evidence
) -> dict[str, Any]:
    """Return the content of `export.json`, but for the files."""
    facts = read_run(origin.run.path).facts
    network = prepared.subject.network
    return {
        "format": FORMAT,
        "kind": origin.kind,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "run": {"id": origin.run.id, "name": facts.get("name"), **{key: facts[key] for key in _KEPT if facts.get(key)}},
        "checkpoint": {
            "file": origin.checkpoint.name,
            "sha256": sha256_of(origin.checkpoint),
            "epoch": evaluation.checkpoint.get("epoch"),
            "step": evaluation.checkpoint.get("global_step"),
        },
        "network": {
            "module": network.name,
            "class": f"{type(network.original).__module__}.{type(network.original).__qualname__}",
            "parameters": sum(parameter.numel() for parameter in network.original.parameters()),
            "preprocessing": prepared.subject.raw is not None,
            "postprocessing": bool(prepared.subject.after),
            "trained_in": evaluation.precision,
            "weights": sorted({dtype_name(parameter.dtype) for parameter in network.original.parameters()}),
        },
        "inputs": [_described(each) for each in prepared.inputs],
        "call": template(prepared.call, [each.name for each in prepared.inputs]),
        "outputs": artifact.described_outputs(),
        "verification": _verification(evaluation, options, prepared, evidence),
        "seeds": seeds_of(origin.run, evidence.metrics),
        "versions": {"python": platform.python_version(), **versions(_PACKAGES)},
    }


def json_text(facts: Mapping[str, Any]) -> str:
    """Write facts as JSON, in which numbers that are not finite are null."""

    def plain(value: object) -> Any:
        if isinstance(value, Mapping):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(item) for item in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps(plain(facts), indent=1)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file; of a folder, that of the names and contents of its files."""
    digest = hashlib.sha256()
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.is_file():
                digest.update(f"{file.relative_to(path).as_posix()} {sha256_of(file)}\n".encode())
        return digest.hexdigest()
    with path.open("rb") as opened:
        while block := opened.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _described(each: Input) -> dict[str, Any]:
    described: dict[str, Any] = {
        "name": each.name,
        "dtype": each.dtype,
        "shape": list(each.shape),
        "seen": [list(sizes) for sizes in each.seen],
    }
    if each.factor > 1:
        described["rows_per_sample"] = each.factor
    if each.limits is not None:
        described["limits"] = list(each.limits)
    return described


def _verification(evaluation: Evaluation, options: Options, prepared: Prepared, evidence: Evidence) -> dict[str, Any]:
    metrics = {}
    for name, (ours, theirs) in evidence.metrics.items():
        recorded = {"recorded": evidence.recorded[name]} if name in evidence.recorded else {}
        metrics[name] = {"network": ours, "artifact": theirs, "difference": abs(ours - theirs), **recorded}
    return {
        "stage": evaluation.stage,
        "data": "all" if prepared.batches is None else f"the first {prepared.batches} batches of each dataloader",
        "batch_sizes": evidence.sizes,
        "calls": evidence.outputs.calls,
        "outputs": evidence.outputs.largest,
        "output_tolerances": {dtype_name(dtype): tolerance for dtype, tolerance in TOLERANCES.items()},
        "metrics": metrics,
        "metric_tolerance": options.tolerance,
    }
