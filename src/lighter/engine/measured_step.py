"""Record the calls of a network's layers during one training step: shapes, FLOPs and bytes.

FLOPs are counted by torch, operator by operator (`torch.utils.flop_counter`), so attention and whatever else a forward
pass calls is counted too; a multiplication and an addition are two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning import Callback, LightningModule
from torch import Tensor, jit, nn
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count
from torchmetrics import Metric, MetricCollection

from lighter._lightning.torch_internals import ATTENTION_ON_CPU

ONE_STEP = {
    "max_epochs": 1,
    "limit_train_batches": 1,
    "limit_val_batches": 0,
    "overfit_batches": 0,
    "accumulate_grad_batches": 1,
}


def _attention_flops(query: Any, key: Any, value: Any, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    return int(sdpa_flop_count(query, key, value))  # type: ignore[no-untyped-call]


# the one kind of attention that torch leaves out
_ATTENTION_ON_CPU = {ATTENTION_ON_CPU: _attention_flops}


@dataclass(frozen=True)
class LayerCall:
    """A call of a layer, with what went in and came out as `shown`.

    `shapes` and `output_bytes` are of the tensors that were returned, `flops` of the forward pass; it is outermost if
    no other layer's call was running.
    """

    name: str
    layer: nn.Module
    inputs: str
    output: str
    shapes: list[tuple[int, ...]]
    output_bytes: int
    flops: int
    is_outermost: bool

    @property
    def kind(self) -> str:
        return type(self.layer).__name__

    @property
    def parameters(self) -> int:
        # Its own, without inner layers', which have calls of their own.
        return sum(parameter.numel() for parameter in self.layer.parameters(recurse=False))


class StepRecorder(Callback):
    """Record the layers' calls in each training step, in the order in which they return.

    `look` is called with the module and the batch before the step.
    """

    def __init__(self, look: Callable[[LightningModule, Any], None]) -> None:
        self.calls: list[LayerCall] = []
        self._look = look
        self._watch = ExitStack()

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._look(pl_module, batch)
        self._watch.enter_context(self.watching(pl_module))

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: LightningModule, *_: Any) -> None:
        self._watch.close()

    def on_exception(self, trainer: pl.Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._watch.close()

    @contextmanager
    def watching(self, module: nn.Module) -> Iterator[None]:
        counter: Any = FlopCounterMode(display=False, custom_mapping=_ATTENTION_ON_CPU)
        began: list[int] = []  # the counter at the begin of each call that runs now

        def begin(*_: Any) -> None:
            began.append(counter.get_total_flops())

        def end_of(name: str) -> Callable[[nn.Module, Any, Any], None]:
            def end(layer: nn.Module, args: Any, output: Any) -> None:
                flops, tensors = counter.get_total_flops() - began.pop(), tensors_in(output)
                size = sum(item.numel() * item.element_size() for item in tensors)
                inputs = ", ".join(map(shown, args))
                call = (name, layer, inputs, shown(output), shapes_in(output), size, flops, not began)
                self.calls.append(LayerCall(*call))

            return end

        with ExitStack() as handles:
            for name, layer in layers_of(module):
                if not isinstance(layer, jit.ScriptModule):  # takes no hooks
                    handles.callback(layer.register_forward_pre_hook(begin).remove)
                    handles.callback(layer.register_forward_hook(end_of(name)).remove)
            with counter:
                yield


def layers_of(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield all modules within one, but metrics and what is in them."""
    metrics = tuple(name for name, part in module.named_modules() if isinstance(part, (Metric, MetricCollection)))
    inside = tuple(f"{name}." for name in metrics)
    for name, part in module.named_modules():
        if name and name not in metrics and not name.startswith(inside):
            yield name, part


def tensors_in(value: Any) -> list[Tensor]:
    return [item for item in tree_leaves(value) if isinstance(item, Tensor)]


def shapes_in(value: Any) -> list[tuple[int, ...]]:
    return [tuple(item.shape) for item in tensors_in(value)]


def shown(value: Any) -> str:
    """Write the shapes of tensors, within lists and dicts."""
    if isinstance(value, Tensor):
        return f"({', '.join(map(str, value.shape))})"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {shown(item)}' for key, item in value.items())}}}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(shown, value))}]"
    return type(value).__name__
