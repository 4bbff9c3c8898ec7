"""The parameters, FLOPs and memory of each layer of a network, from one training step: `lighter summary`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pytorch_lightning import LightningModule
from torch import nn

from lighter.config import Config
from lighter.engine.measured_step import ONE_STEP, LayerCall, StepRecorder, layers_of, shapes_in
from lighter.engine.trial import make_trial, without_advice


@dataclass
class Layer:
    """A module of the network, with all that is in it.

    `parameters` and `trainable` count numbers; sizes are in bytes, that of the output of all calls together. `flops`
    are of the forward passes, `output` has the shapes of the tensors that it returned last.
    """

    name: str
    kind: str
    parameters: int
    trainable: int
    parameter_bytes: int
    calls: int = 0
    flops: int = 0
    output: list[tuple[int, ...]] = field(default_factory=list)
    output_bytes: int = 0

    @classmethod
    def of(cls, name: str, module: nn.Module) -> Layer:
        parameters, buffers = list(module.parameters()), list(module.buffers())
        trainable = sum(item.numel() for item in parameters if item.requires_grad)
        size = sum(item.numel() * item.element_size() for item in [*parameters, *buffers])
        return cls(name, type(module).__name__, sum(item.numel() for item in parameters), trainable, size)

    @property
    def depth(self) -> int:
        """1 for a module that is an attribute of the LightningModule."""
        return self.name.count(".") + 1

    def add(self, call: LayerCall) -> None:
        self.calls += 1
        self.flops += call.flops
        self.output = call.shapes
        self.output_bytes += call.output_bytes


@dataclass(frozen=True)
class Summary:
    """The layers, in the order of `named_modules` and without metrics, and all of them together.

    `total` is the LightningModule, with the FLOPs of the outermost calls; `batch` has the shapes of its tensors.
    """

    total: Layer
    layers: list[Layer]
    batch: list[tuple[int, ...]]
    device: str


def summarize(config: Config) -> Summary:
    """Run one training step of a config on its first batch, and measure it. Nothing is written or kept."""
    batches: list[tuple[list[tuple[int, ...]], str]] = []

    def look(module: LightningModule, batch: Any) -> None:
        batches.append((shapes_in(batch), str(module.device)))

    recorder = StepRecorder(look)
    with TemporaryDirectory() as folder, without_advice():
        parts = make_trial(config, Path(folder), **ONE_STEP).parts
        parts.trainer.callbacks.append(recorder)  # type: ignore[attr-defined]
        parts.trainer.fit(parts.module, datamodule=parts.data)
    layers = {name: Layer.of(name, layer) for name, layer in layers_of(parts.module)}
    for call in recorder.calls:
        layers[call.name].add(call)
    total = Layer.of("", parts.module)
    total.flops = sum(call.flops for call in recorder.calls if call.is_outermost)
    return Summary(total, list(layers.values()), *batches[0])
