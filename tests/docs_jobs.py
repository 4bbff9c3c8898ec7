"""What the tests of docs/03 name in their configs: data of every shape in its tables, parts for its snippets."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

SAMPLES, CLASSES, PIXELS, TOKENS = 40, 10, 8, 5


def pairs(kind: str) -> tuple[Tensor, Tensor]:
    """Predictions and targets of a kind; each class and each bit is among the targets."""
    generator = torch.Generator().manual_seed(0)

    def numbers(*shape: int) -> Tensor:
        return torch.randn(SAMPLES, *shape, generator=generator)

    def choices(end: int, *shape: int) -> Tensor:
        return torch.randint(end, (SAMPLES, *shape), generator=generator)

    def images() -> Tensor:
        return torch.rand(SAMPLES, 1, PIXELS, PIXELS, generator=generator)

    kinds = {
        "classes": lambda: (numbers(CLASSES), torch.arange(SAMPLES) % CLASSES),
        "maps": lambda: (numbers(CLASSES, PIXELS, PIXELS), choices(CLASSES, 1, PIXELS, PIXELS)),
        "bits": lambda: (numbers(1), torch.arange(SAMPLES) % 2),
        "labels": lambda: (numbers(CLASSES), choices(2, CLASSES)),
        "mask": lambda: (numbers(1, PIXELS, PIXELS), choices(2, 1, PIXELS, PIXELS)),
        "numbers": lambda: (numbers(1), numbers()),
        "logits": lambda: (numbers(CLASSES), numbers(CLASSES)),
        "images": lambda: (images(), images()),
        "text": lambda: (numbers(TOKENS, CLASSES), choices(CLASSES, TOKENS)),
    }
    return kinds[kind]()


def dataset(kind: str) -> TensorDataset:
    """The predictions of a kind as inputs, for a model that is the identity, and the targets."""
    return TensorDataset(*pairs(kind))


class Samples(Dataset):
    """Eight samples of four numbers, of three classes; `kind` says how they come, after the snippets of the page."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> Any:
        x, label = torch.full((4,), index / 8), index % 3
        return {
            "batch_dict": lambda: {"image": x, "label": label, "patient": f"p{index}" if index % 2 else None},
            "batch_callable": lambda: (x, label, torch.tensor(30.0 + index)),
            "batch_named": lambda: {"input_ids": x, "attention_mask": x > 0, "label": label},
            "batch_positions": lambda: (x, -x, float(label == 0)),
            "criterion_apart": lambda: {"text": x, "start_position": label, "end_position": label},
            "criterion_order": lambda: (x, label),
            "criterion_input": lambda: (x, label),
            "multitask": lambda: (x, {"digit": label, "ink": x.sum()}),
            "sliding": lambda: (torch.full((1, 100, 90), index / 8), torch.ones(1, 100, 90)),
            "ctc": lambda: {"sound": x.repeat(10, 1), "text": torch.tensor([1, 2]), "frames": 10, "length": 2},
        }[self.kind]()


class ImageAndAge(nn.Module):
    """A model whose input is a dict of two fields."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x: dict[str, Tensor]) -> Tensor:
        return self.linear(x["image"] * x["age"][:, None])


class Bert(nn.Module):
    """A model of two inputs, called by name."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, *, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.linear(input_ids * attention_mask)


class Siamese(nn.Module):
    """A model of two images."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return (self.linear(left) * self.linear(right)).sum(1).double()


class Span(nn.Module):
    """A model that predicts where an answer starts and where it ends."""

    def __init__(self) -> None:
        super().__init__()
        self.start, self.end = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.start(x), self.end(x)


def span_loss(start: Tensor, end: Tensor, *, first: Tensor, last: Tensor) -> Tensor:
    return nn.functional.cross_entropy(start, first) + nn.functional.cross_entropy(end, last)


class TwoHeads(nn.Module):
    """A model that predicts the digit and the ink."""

    def __init__(self) -> None:
        super().__init__()
        self.digit, self.ink = nn.Linear(4, 10), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"digit": self.digit(x), "ink": self.ink(x).squeeze(1)}


def truth_first(truth: Tensor, prediction: Tensor) -> Tensor:
    """A loss that wants its arguments in another order, one of them by name."""
    return nn.functional.cross_entropy(prediction, truth)


def both_losses(pred: dict[str, Tensor], target: dict[str, Tensor]) -> dict[str, Tensor]:
    digit = nn.functional.cross_entropy(pred["digit"], target["digit"])
    ink = nn.functional.l1_loss(pred["ink"], target["ink"])
    return {"total": digit + ink, "digit": digit, "ink": ink}
