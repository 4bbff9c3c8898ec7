"""A small transformer on random tokens, for configs with the section `parallel`, and what looks at its fits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.nn import functional
from torch.utils.data import IterableDataset, TensorDataset
from torchmetrics import Metric

import lighter
from lighter.engine.memory import _Measures
from tests.parallel.streams import Share


class Attention(nn.Module):
    def __init__(self, width: int, head: int) -> None:
        super().__init__()
        self.head = head
        self.q, self.k, self.v = (nn.Linear(width, width) for _ in range(3))
        self.o = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        # of heads as many as are in this process
        q, k, v = (layer(x).unflatten(-1, (-1, self.head)).transpose(1, 2) for layer in (self.q, self.k, self.v))
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o(mixed.transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self, width: int, head: int, dropout: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = Attention(width, head)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.dropout(self.attn(self.norm1(x)))
        return x + self.dropout(self.down(functional.gelu(self.up(self.norm2(x)))))


class Tiny(nn.Module):
    """A transformer of two layers; its output are the logits of the next token."""

    def __init__(self, tokens: int = 16, width: int = 16, layers: int = 2, dropout: float = 0.0) -> None:
        super().__init__()
        self.embed = nn.Embedding(tokens, width)
        self.layers = nn.ModuleList(Block(width, 4, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, tokens)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x))


class Tied(Tiny):
    """A network whose first and last layers have one weight."""

    def __init__(self) -> None:
        super().__init__(layers=1)
        self.head.weight = self.embed.weight


class Scaled(Tiny):
    """A network with a tensor that is neither a parameter nor a buffer."""

    def __init__(self) -> None:
        super().__init__(layers=1)
        self.scales = [torch.full((16,), 0.5)]

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.scales[0]


class Normed(nn.Module):
    """A network with a `BatchNorm`, whose means a validation takes."""

    def __init__(self, tokens: int = 16, width: int = 16) -> None:
        super().__init__()
        self.embed = nn.Embedding(tokens, width)
        self.norm = nn.BatchNorm1d(width)
        self.layers = nn.ModuleList([Block(width, 4, 0.0)])
        self.head = nn.Linear(width, tokens)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.embed(x).transpose(1, 2)).transpose(1, 2)
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


PLAN = {
    "layers.*.attn.[qkv]": "colwise",
    "layers.*.attn.o": "rowwise",
    "layers.*.up": "colwise",
    "layers.*.down": "rowwise",
}


def tokens(samples: int, seed: int = 0, *, numbered: bool = False) -> TensorDataset:
    draws = torch.Generator().manual_seed(seed)
    steps = torch.randint(1, 4, (samples, 1), generator=draws)
    x = (torch.randint(16, (samples, 1), generator=draws) + steps * torch.arange(9)) % 16
    numbers = [torch.arange(samples)] if numbered else []
    return TensorDataset(x[:, :-1], x[:, 1:], *numbers)


class ByRank(IterableDataset):
    """Samples that are divided over all processes, as is usual without tensor ranks."""

    def __iter__(self) -> Iterator[Any]:
        return islice(iter(tokens(64)), dist.get_rank(), None, dist.get_world_size())


class TokensByShare(Share):
    """Samples that are divided over data ranks and workers."""

    def __iter__(self) -> Iterator[Any]:
        return map(tokens(self.samples, numbered=True).__getitem__, super().__iter__())


class Model(lighter.LighterModule):
    def step(self, batch: Any, metrics: Any) -> Tensor:
        x, y = batch[:2]
        pred = self(x)
        if metrics is not None:
            metrics(pred.flatten(0, 1), y.flatten())
        return functional.cross_entropy(pred.flatten(0, 1).float(), y.flatten())

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.step(batch, self.train_metrics)

    def validation_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.step(batch, self.val_metrics)

    def predict_step(self, batch: Any, batch_idx: int) -> Any:
        return {"pred": self(batch[0]).argmax(-1), "input": batch[0]}


class DividesItself(Model):
    """Has a `configure_model` and no section `parallel`; its checkpoints are folders of shards."""

    def configure_model(self) -> None:
        super().configure_model()
        if self._trainer is not None and not hasattr(self.network, "unshard"):
            fully_shard(self.network, mesh=self.device_mesh["data_parallel"])


class Watch(pl.Callback):
    """Write what each process has seen of a fit to `watch-RANK.json`: mean losses, gradients' norm, weights."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.batches: list[Any] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        loss = outputs["loss"].detach().clone()
        self.losses.append(float(trainer.strategy.reduce(loss, reduce_op="mean")))
        self.batches.append((batch[2] if len(batch) == 3 else batch[0][:, 0]).tolist())

    def on_fit_end(self, trainer, pl_module):
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        seen = {"losses": self.losses, "metrics": metrics, "batches": self.batches}
        seen["weights"] = {name: whole(p).tolist() for name, p in pl_module.state_dict().items()}
        Path(f"watch-{trainer.global_rank}.json").write_text(json.dumps(seen))


def whole(tensor: Tensor) -> Tensor:
    tensor = tensor.detach()
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


class BadOnce(Model):
    """A loss that is NaN in one step, in the last process."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        return loss * float("nan") if batch_idx == 1 and self.global_rank == self.trainer.world_size - 1 else loss


class Count(Metric):
    """The number of targets: it would be doubled by two processes with the same."""

    def __init__(self) -> None:
        super().__init__()
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, pred: Tensor, target: Tensor) -> None:
        self.count += len(target)

    def compute(self) -> Tensor:
        return self.count.float()


class Peak(_Measures):
    """Write what each process has measured of its tensors' bytes to `peak-RANK.json`."""

    def on_fit_end(self, trainer, pl_module):
        Path(f"peak-{trainer.global_rank}.json").write_text(json.dumps(self.meter.result().peak))
