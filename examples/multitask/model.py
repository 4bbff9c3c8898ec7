"""A network with two heads, and the loss of both."""

import torch
from torch import nn


class TwoHeads(nn.Module):
    """Features that both heads share. The prediction is a dict: `digit` has shape (batch, 10), `ink` (batch,)."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Flatten(), nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()
        )
        self.digit = nn.Linear(hidden, 10)
        self.ink = nn.Linear(hidden, 1)
        nn.init.constant_(self.ink.bias, 20.0)  # the usual amount: only the difference is left to learn

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        features = self.features(x)
        return {"digit": self.digit(features), "ink": self.ink(features).squeeze(1)}


class BothLosses(nn.Module):
    """Cross-entropy of the digit and squared error of the ink. Each entry is logged; `total` is what trains."""

    def __init__(self, ink_weight: float) -> None:
        super().__init__()
        self.ink_weight = ink_weight

    def forward(self, pred: dict[str, torch.Tensor], target: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        digit = nn.functional.cross_entropy(pred["digit"], target["digit"])
        ink = nn.functional.mse_loss(pred["ink"], target["ink"])
        return {"total": digit + self.ink_weight * ink, "digit": digit, "ink": ink}
