"""Prepare an export from an evaluation of the run: the network, its inputs, and calls to verify it with."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Sized
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from torch.utils.data import DataLoader, IterableDataset

from lighter.errors import ExportError
from lighter.exporting.calls import Call, Shape
from lighter.exporting.dimensions import Input, inputs_of, repeated, size_of
from lighter.exporting.evaluation import Evaluation, resized_loader
from lighter.exporting.network import find_network
from lighter.exporting.subject import Recorder, Subject, recorded, subject_of

_PROBES = (2, 3)  # samples in a batch: sizes of which no small number is a multiple of both
METRIC_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Options:
    """The options of an export and of its verification.

    Attributes:
        checkpoint: `best`, `last` or a path; by default the best if there is one, otherwise the last.
        module: the part that is exported; by default the network that the steps call.
        preprocessing: include the `input_transforms` of the adapters.
        postprocessing: include the `pred_transforms` of the adapters.
        samples: about so many samples are evaluated, in whole batches; by default all.
        stage: `validate` or `test`; by default the former, if the run has it.
        tolerance: of metrics, absolute up to 1 and relative above.
    """

    checkpoint: str | None = None
    module: str | None = None
    preprocessing: bool = False
    postprocessing: bool = False
    samples: int | None = None
    stage: str | None = None
    tolerance: float = METRIC_TOLERANCE


@dataclass(frozen=True)
class Prepared:
    """A network that is about to be exported.

    Attributes:
        call: is traced.
        calls: real calls with other numbers of samples.
        metrics: what the evaluation of the network logged.
        batches: of how many batches of each dataloader; None for all.
    """

    subject: Subject
    call: Call
    inputs: list[Input]
    calls: list[Call]
    metrics: Mapping[str, float]
    batches: int | None


def prepare(evaluation: Evaluation, options: Options) -> Prepared:
    """Evaluate the network, and infer its inputs.

    Raises:
        ConfigError: the options do not fit the module.
        ExportError: the network cannot be told, or what it gets does not follow the batch.
    """
    network = find_network(evaluation.module, lambda: evaluation.run(batches=1), options.module)
    subject = subject_of(
        evaluation, network, preprocessing=options.preprocessing, postprocessing=options.postprocessing
    )
    loader = evaluation.loader()
    batches = None if options.samples is None else math.ceil(options.samples / ((loader and loader.batch_size) or 1))
    with recorded(subject) as whole:
        metrics = evaluation.run(batches=batches)
    # an inferer gives the model windows, whose number is no multiple of the samples
    can_probe = loader is not None and getattr(evaluation.module, "inferer", None) is None
    probes = _probes(evaluation, subject, loader) if can_probe and loader is not None else {}
    by_size = {size: probe.shapes[0] for size, probe in probes.items()}
    if probes and loader is not None and (first := _first_size(loader)) is not None:
        by_size.setdefault(first, whole.shapes[0])
    _refuse_changing_forms(whole, [*probes.values()])
    calls = [recorder.call for recorder in (whole, *probes.values()) if recorder.call is not None]
    call = max(calls, key=lambda each: sum(tensor.numel() for tensor in each.tensors))
    every = [*whole.shapes, *(shapes for probe in probes.values() for shapes in probe.shapes)]
    inputs = inputs_of(call.names(subject.program), call, by_size, every, whole.limits)
    _refuse_fixed_inputs(inputs, by_size, subject)
    if size_of(call, inputs) == 1:  # which torch takes for a constant
        call = repeated(call, inputs, 2)
    _as_evaluated(subject, whole)
    return Prepared(subject, call, inputs, calls, metrics, batches)


def _probes(evaluation: Evaluation, subject: Subject, loader: DataLoader[Any]) -> dict[int, Recorder]:
    """Evaluate small batches of the run's data, and return what the network got, by the number of samples."""
    probes = {}
    for size in _PROBES:
        # what does not work with so few samples is found in the graph, with its line; a metric may need more of them
        with recorded(subject) as probe, suppress(Exception):
            evaluation.run(resized_loader(loader, size), batches=1)
        if probe.shapes:
            probes[size] = probe
    return probes


def _first_size(loader: DataLoader[Any]) -> int | None:
    """Return the number of samples in the first batch; None if that is not known, as of a stream."""
    if isinstance(loader.dataset, IterableDataset) or not isinstance(loader.sampler, Sized):
        return None
    return min(loader.batch_size or 1, len(loader.sampler))


def _as_evaluated(subject: Subject, whole: Recorder) -> None:
    """Set the modes in which the evaluation calls the network: what trains there is to be found in the graph."""
    subject.network.original.eval()
    for part in whole.training:
        part.training = True


def _refuse_changing_forms(whole: Recorder, probes: Sequence[Recorder]) -> None:
    forms = [*dict.fromkeys(form for recorder in (whole, *probes) for form in recorder.forms)]
    if len(forms) > 1:
        kind = type(whole.subject.network.original).__name__
        raise ExportError(
            f"{kind} is called with other arguments from call to call, and not only with other tensors:"
            f" {forms[0]}, then {forms[1]}."
            " In an exported program, what is no tensor is a constant, and the number of tensors is fixed"
        )


def _refuse_fixed_inputs(inputs: Sequence[Input], by_size: Mapping[int, Sequence[Shape]], subject: Subject) -> None:
    if not inputs:
        raise ExportError(f"{subject.names(subject.program).shown('')} is called without tensors")
    if all(each.batch is None for each in inputs):
        got = "; ".join(
            f"{' and '.join(map(str, shapes))} of a batch of {size}" for size, shapes in sorted(by_size.items())
        )
        raise ExportError(
            f"{subject.names(subject.program).shown('')} does not get all samples of a batch: {got}."
            " An export needs a part that does: name one with --module"
        )
