"""Networks with one fault each, that an export has to find; and two that have none."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import lighter


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 10)


class Sound(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


class FrozenView(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x).view(16, -1)  # fault


class FrozenNumber(Base):
    def forward(self, x: Tensor) -> Tensor:
        samples = int(x.shape[0])  # fault
        return self.layer(x.reshape(samples, 64))


class OnlyLarge(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) if x.shape[0] > 3 else self.layer(-x)  # fault


class OnlyOne(Base):
    def forward(self, x: Tensor) -> Tensor:
        if len(x) != 1:
            raise ValueError("one by one")  # fault
        return self.layer(x)


class Branch(Base):
    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:  # fault
            x = x * 2
        return self.layer(x)


class Item(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) * 2 if x.max().item() > 0.5 else self.layer(x)  # fault


class Unsaved(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) * round(x.max().item() * 3)  # fault


class Numpy(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.layer(torch.from_numpy(x.detach().numpy() * 2))  # fault


class Dropout(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.layer(nn.functional.dropout(x, 0.1))  # fault


class Random(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) + torch.rand_like(x[:, :10])  # fault


class TrainingNorm(Base):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(64)

    def forward(self, x: Tensor) -> Tensor:
        self.norm.train()
        return self.layer(self.norm(x))


class ChangingBuffer(Base):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1  # fault
        return self.layer(x) + self.calls * 0.01


class Counting(Base):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:  # fault
        self.calls += 1
        return self.layer(x) + 0.01 * self.calls


class Ties(Base):
    """ONNX says nothing of the order of equal values."""

    def forward(self, x: Tensor) -> Tensor:
        first = torch.topk((x > 0.5).float(), 4)[1]  # fault
        return self.layer(x) + first.sum(1, keepdim=True)


class StableSort(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.layer(torch.sort(x, stable=True)[0])  # fault


class Holder(nn.Module):
    """The fault is in a part of a part."""

    def __init__(self, fault: nn.Module) -> None:
        super().__init__()
        self.head = fault

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x)


class InPlace(Base):
    """It has no fault: it changes its input, which the caller does not see."""

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.mul_(2))


class Digits(lighter.LighterModule):
    """A classifier that logs its accuracy."""

    def training_step(self, batch, batch_idx):
        x, y = batch
        return nn.functional.cross_entropy(self(x), y)

    def validation_step(self, batch, batch_idx):
        x, y = batch
        prediction = self(x)
        self.log("val/accuracy", (prediction.argmax(1) == y).float().mean())
        return {"loss": nn.functional.cross_entropy(prediction, y)}


class HalfOfBatch(Digits):
    def validation_step(self, batch, batch_idx):
        x, y = batch
        return {"loss": nn.functional.cross_entropy(self(x[:1]), y[:1])}


class Overwriting(Digits):
    """It changes its weights when an evaluation begins."""

    def on_validation_start(self):
        nn.init.zeros_(self.network[0].bias)
