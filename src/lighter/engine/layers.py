"""What each layer of a network has and does in one training step: parameters, FLOPs and memory.

FLOPs are counted by torch where they are done, operator by operator (`torch.utils.flop_counter`), so attention and
whatever else a forward pass calls is counted too; a multiplication and an addition are two.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from pytorch_lightning import Callback
from torch import Tensor, jit, nn
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count
from torchmetrics import Metric, MetricCollection

from lighter.config import Config
from lighter.engine.trial import make_trial, without_advice

_ONE_STEP = {
    "max_epochs": 1,
    "limit_train_batches": 1,
    "limit_val_batches": 0,
    "overfit_batches": 0,
    "accumulate_grad_batches": 1,
}


def _attention_flops(query: Any, key: Any, value: Any, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    return int(sdpa_flop_count(query, key, value))  # type: ignore[no-untyped-call]


# the one kind of attention that torch leaves out
_ATTENTION_ON_CPU = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops}


@dataclass
class Layer:
    """One module of the network, with all that is in it.

    Attributes:
        name: as in `named_modules`.
        kind: its class.
        parameters: how many numbers it has.
        trainable: how many of them train.
        parameter_bytes: what its parameters and buffers take.
        calls: how often it was called.
        flops: of its forward passes.
        output: the shapes of the tensors that it returned last.
        output_bytes: what the tensors take that it returned, all calls together.
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

    @property
    def depth(self) -> int:
        """1 for a module that is an attribute of the LightningModule."""
        return self.name.count(".") + 1


@dataclass(frozen=True)
class Summary:
    """The layers, and all of them together.

    Attributes:
        total: the LightningModule: its parameters, and the FLOPs of the outermost calls.
        layers: in the order of `named_modules`, without metrics.
        batch: the shapes of the tensors of the batch.
        device: where the step ran.
    """

    total: Layer
    layers: list[Layer]
    batch: list[tuple[int, ...]]
    device: str


def summarize(config: Config) -> Summary:
    """Run one training step of a config on its first batch, and look. Nothing is written, nothing is kept.

    Raises:
        ConfigError: something that `fit` needs is wrong or missing.
    """
    recorder = _Recorder()
    with TemporaryDirectory() as folder, without_advice():
        trial = make_trial(config, Path(folder), **_ONE_STEP)
        trial.parts.trainer.callbacks.append(recorder)
        trial.parts.trainer.fit(trial.parts.module, datamodule=trial.parts.data)
    return recorder.summary(trial.parts.module)


class _Recorder(Callback):
    """Watches the layers while a training step runs."""

    def __init__(self) -> None:
        self.layers: dict[str, Layer] = {}
        self.batch: list[tuple[int, ...]] = []
        self.device = ""
        self.flops = 0  # of the outermost calls
        self._open: list[int] = []  # the counter, when each call that runs now began
        self._counter: Any = FlopCounterMode(display=False, custom_mapping=_ATTENTION_ON_CPU)
        self._handles: list[Any] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Begin."""
        self.batch, self.device = _shapes(batch), str(pl_module.device)
        for name, module in _parts(pl_module):
            self.layers[name] = _layer(name, module)
            if not isinstance(module, jit.ScriptModule):  # takes no hooks
                self._watch(module, self.layers[name])
        self._counter.__enter__()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """End."""
        self._counter.__exit__(None, None, None)
        for handle in self._handles:
            handle.remove()

    def summary(self, module: Any) -> Summary:
        """All that was seen."""
        total = _layer("", module)
        total.flops = self.flops
        return Summary(total, [*self.layers.values()], self.batch, self.device)

    def _watch(self, module: nn.Module, layer: Layer) -> None:
        def begin(*_: Any) -> None:
            self._open.append(self._counter.get_total_flops())

        def end(module: nn.Module, args: Any, output: Any) -> None:
            flops = self._counter.get_total_flops() - self._open.pop()
            layer.calls += 1
            layer.flops += flops
            self.flops += 0 if self._open else flops
            layer.output = _shapes(output)
            layer.output_bytes += sum(item.numel() * item.element_size() for item in _tensors(output))

        self._handles += [module.register_forward_pre_hook(begin), module.register_forward_hook(end)]


def _parts(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """All modules within one, but metrics."""
    for name, child in module.named_children():
        if isinstance(child, (Metric, MetricCollection)):
            continue
        yield name, child
        yield from ((f"{name}.{inner}", part) for inner, part in _parts(child))


def _layer(name: str, module: nn.Module) -> Layer:
    parameters, buffers = list(module.parameters()), list(module.buffers())
    return Layer(
        name=name,
        kind=type(module).__name__,
        parameters=sum(item.numel() for item in parameters),
        trainable=sum(item.numel() for item in parameters if item.requires_grad),
        parameter_bytes=sum(item.numel() * item.element_size() for item in [*parameters, *buffers]),
    )


def _tensors(value: Any) -> list[Tensor]:
    return [item for item in tree_leaves(value) if isinstance(item, Tensor)]


def _shapes(value: Any) -> list[tuple[int, ...]]:
    return [tuple(item.shape) for item in _tensors(value)]
