"""The reference of the Python language, as characters: the text that `help("for")` shows ships with Python."""

from __future__ import annotations

from pydoc_data.topics import topics

import torch
from torch import Tensor
from torch.utils.data import Dataset

CHARACTERS = 128


class Reference(Dataset):
    """Windows of the text, and the same windows one character later; the last tenth of it is for validation."""

    def __init__(self, split: str, time: int, samples: int) -> None:
        text = "\n".join(topics[name] for name in sorted(topics)).encode("ascii", "ignore")
        codes, cut = torch.frombuffer(bytearray(text), dtype=torch.uint8).long(), len(text) * 9 // 10
        self.codes = codes[:cut] if split == "train" else codes[cut:]
        self.time = time
        self.starts = torch.linspace(0, len(self.codes) - time - 1, samples).long()

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        start = int(self.starts[index])
        window = self.codes[start : start + self.time + 1]
        return window[:-1], window[1:]
