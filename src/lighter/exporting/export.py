"""Export the network of a run: evaluate, trace, write aside, verify, publish.

checkpoint and data of the run ──evaluate──▶ metrics, and calls of the network with batches of several sizes
network and calls ──torch.export───────────▶ a program, refused if it draws numbers or keeps state
program ──written to a folder aside────────▶ an artifact, loaded from its file
artifact in the network's place ──evaluate─▶ outputs of every call and all metrics, compared
folder ──renamed───────────────────────────▶ there whole, or not at all
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from lighter.errors import ExportError
from lighter.exporting.artifact import Artifact, Standin, network_fails
from lighter.exporting.differences import distance
from lighter.exporting.dimensions import resized, size_of
from lighter.exporting.evaluation import Evaluation, evaluation_of
from lighter.exporting.folder import Written, published, refuse_taken
from lighter.exporting.formats import FORMATS, Format
from lighter.exporting.graph import refused
from lighter.exporting.locate import changing_module
from lighter.exporting.metrics import compare, compare_with_record, recorded_metrics
from lighter.exporting.network import Network
from lighter.exporting.prepare import Options, Prepared, prepare
from lighter.exporting.record import Evidence, Origin, describe_export
from lighter.files.run_folder import RunFolder
from lighter.parts.optimization.parameter_groups import as_written
from lighter.runs.find_checkpoint import find_in_run

_SIZES = (1, 2, 3, 5)


def export_network(
    run: RunFolder, kind: str, options: Options, output: Path | None = None, *, force: bool = False
) -> Written:
    """Export the network of a run's checkpoint, verified, to a folder.

    Args:
        kind: `pt2` or `onnx`.
        output: the folder; by default `export/NAME-KIND` in the run's, NAME being the checkpoint's.
        force: replace an earlier export.

    Raises:
        ExportError: the network cannot be exported, or the artifact does not compute what it does.
        CheckpointError: there is no such checkpoint, or it cannot be used.
        ConfigError: the options or the run's config do not fit.
        StorageError: the folder cannot be written.
    """
    form = FORMATS[kind]
    form.require()
    path = find_in_run(run, options.checkpoint)
    target = output or run.path / "export" / f"{path.stem}-{kind}"
    refuse_taken(target, force=force)
    with evaluation_of(run, path, options.stage) as evaluation, published(target, force=force) as folder:
        prepared = prepare(evaluation, options)
        # a part of the data has other metrics
        known = recorded_metrics(run, path, evaluation.checkpoint) if prepared.batches is None else {}
        recorded = compare_with_record(prepared.metrics, known, options.tolerance)
        artifact, sizes, metrics = _exported(evaluation, prepared, form, folder, path)
        evidence = Evidence(
            artifact.differences, sizes, compare(prepared.metrics, metrics, options.tolerance), recorded
        )
        facts = describe_export(Origin(run, path, kind), evaluation, options, prepared, artifact, evidence)
        return Written.of(folder, target, facts)


def _exported(
    evaluation: Evaluation, prepared: Prepared, form: Format, folder: Path, path: Path
) -> tuple[Artifact, list[int], dict[str, float]]:
    """Return the artifact, the batch sizes that were tried, and the metrics with it in the network's place."""
    subject = prepared.subject
    names = subject.names(subject.program)
    with torch.no_grad():
        # before it is traced, which may leave what it keeps between calls without values
        try:
            changing = changing_module(subject.program, prepared.call, names)
        except Exception as error:  # the call is made of other samples than those of the evaluation's
            raise network_fails(error, prepared.call, names) from error
    with TemporaryDirectory() as elsewhere:
        # where transforms follow, metrics need what is before them
        core = Artifact.write(subject.program, names, prepared, form, Path(elsewhere) if subject.after else folder)
        if changing is not None:
            raise refused("the network gives something else when it is called again with the same input", changing)
        _refuse_other_weights(evaluation, subject.network, path)
        final = None
        if subject.after:
            final = Artifact.write(subject.final, subject.names(subject.final), prepared, form, folder)
        standin = Standin(prepared, core, final)
        sizes = _check_sizes(standin, prepared)
        with standin.in_place():
            metrics = evaluation.run(batches=prepared.batches)
    return final or core, sizes, metrics


def _check_sizes(standin: Standin, prepared: Prepared) -> list[int]:
    """Compare outputs of batches of several sizes, and return these."""
    largest = size_of(prepared.call, prepared.inputs)
    sizes = [size for size in _SIZES if size <= largest]
    for call in (*(resized(prepared.call, prepared.inputs, size) for size in sizes), *prepared.calls):
        standin.check(call)
    return sizes


def _refuse_other_weights(evaluation: Evaluation, network: Network, path: Path) -> None:
    """Raise if the network does not have the weights of the checkpoint: hooks may have changed them."""
    saved = {as_written(name): value for name, value in evaluation.checkpoint["state_dict"].items()}
    for name, value in network.original.state_dict().items():
        full = ".".join(filter(None, (as_written(network.name), as_written(name))))
        expected = saved.get(full)
        if isinstance(expected, Tensor) and not _are_equal(expected.to(value.dtype), value.cpu()):
            raise ExportError(
                f"`{full}` is not as in {path}: something changed it after it was loaded, or while it ran"
            )


def _are_equal(one: Tensor, other: Tensor) -> bool:
    # `torch.equal` finds NaN unequal to itself
    return one.shape == other.shape and distance(one, other) == 0
