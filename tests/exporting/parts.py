"""Networks and modules of several inputs and outputs, on all rungs."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from typing import NamedTuple

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten
from torch.utils.data import DataLoader, Dataset, IterableDataset

import lighter
from tests.jobs import digits, mlp


class Pair(NamedTuple):
    digit: Tensor
    ink: Tensor


class Two(nn.Module):
    """Two inputs, one by keyword, and several outputs in containers."""

    def __init__(self, kind: str = "dict") -> None:
        super().__init__()
        self.kind = kind
        self.body = nn.Linear(64, 12)
        self.head = nn.Linear(13, 10)

    def forward(self, image: Tensor, *, age: Tensor, scale: float = 1.0):
        features = torch.cat([nn.functional.relu(self.body(image)), age[:, None]], 1)
        digit, ink = self.head(features) * scale, features.sum(1)
        return {"dict": {"digit": digit, "ink": ink}, "tuple": (digit, [ink]), "named": Pair(digit, ink)}[self.kind]


class Nested(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 10)

    def forward(self, batch):
        return self.layer(batch["pixels"][0] + batch["pixels"][1])


class Aged(Dataset):
    """Digits with a second input; a batch is a dict."""

    def __init__(self, end: int = 20) -> None:
        self.digits = digits(0, end)

    def __len__(self) -> int:
        return len(self.digits)

    def __getitem__(self, index: int):
        image, label = self.digits[index]
        return {"image": image, "age": torch.tensor(float(index)), "label": label}


def aged(batch_size: int = 8) -> DataLoader:
    return DataLoader(Aged(), batch_size=batch_size)


class TwoInputs(lighter.LighterModule):
    """It calls its network by position and keyword, with a number that is no tensor."""

    scale = 2.0

    def validation_step(self, batch, batch_idx):
        found = self.network(batch["image"], age=batch["age"], scale=self.scale)
        found = found["digit"] if isinstance(found, dict) else found[0]
        self.log("val/accuracy", (found.argmax(1) == batch["label"]).float().mean(), batch_size=len(found))
        return {"loss": nn.functional.cross_entropy(found, batch["label"])}

    def training_step(self, batch, batch_idx):
        return self.validation_step(batch, batch_idx)


class ChangingScale(TwoInputs):
    def validation_step(self, batch, batch_idx):
        self.scale = 1.0 + batch_idx
        return super().validation_step(batch, batch_idx)


class NestedInput(lighter.LighterModule):
    def validation_step(self, batch, batch_idx):
        x, y = batch
        return {"loss": nn.functional.cross_entropy(self({"pixels": [x, x]}), y)}


class Summed(nn.Module):
    """It adds the tensors that it is called with, in whatever containers."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 10)

    def forward(self, *args, input=None):
        tensors = [leaf for leaf in tree_flatten((args, input))[0] if isinstance(leaf, Tensor)]
        return self.layer(sum(tensor * (1 + index) for index, tensor in enumerate(tensors)))


FORMS = {
    "keyword `input`": lambda x: ((), {"input": x}),
    "key `input`": lambda x: (({"input": x},), {}),
    "keys like marks": lambda x: (({"tuple": x, "dict": {"float": 2 * x}},), {}),
    "tuple": lambda x: (((x, [2 * x, (3 * x,)]),), {}),
    "empty": lambda x: ((x, (), [], {}), {}),
    "keys of other types": lambda x: (({1: x, "1": 2 * x, None: 3 * x},), {}),
    "ordered": lambda x: ((OrderedDict(b=x, a=2 * x),), {}),
    "constants": lambda x: ((x, [None, True, 2, 0.5, "2", float("inf")]), {}),
    "default": lambda x: ((defaultdict(list, a=x),), {}),
}


class Calling(lighter.LighterModule):
    """It calls its network in one of the forms."""

    def __init__(self, form: str, **arguments) -> None:
        super().__init__(**arguments)
        self.form = form

    def validation_step(self, batch, batch_idx):
        x, y = batch
        args, kwargs = FORMS[self.form](x)
        return {"loss": nn.functional.cross_entropy(self.network(*args, **kwargs), y)}


CHANGING = {
    "mask": lambda x, last: ((x, None if last else x), {}),
    "number": lambda x, last: (([x] if last else [x, x],), {}),
    "keyword": lambda x, last: ((x,), {} if last else {"input": x}),
    "rank": lambda x, last: ((x[0] if last else x,), {}),
}


class ChangingCalls(Calling):
    """The last call is another than those before."""

    def validation_step(self, batch, batch_idx):
        x, _ = batch
        args, kwargs = CHANGING[self.form](x, batch_idx == 1)
        output = self.network(*args, **kwargs)
        return {"loss": output.sum()}


class Plain(pl.LightningModule):
    """Its `forward` does more than one network."""

    def __init__(self) -> None:
        super().__init__()
        self.network, self.other = mlp(), nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x) + self.other(x)

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.log("val_loss", nn.functional.cross_entropy(self(x), y))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class TwoNetworks(Plain):
    """Its step calls two parts, of which none is the network."""

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.log("val_loss", nn.functional.cross_entropy(self.network(x) + self.other(x), y))


class Stream(IterableDataset):
    """Digits that come one after another."""

    def __init__(self, count: int) -> None:
        self.digits = digits(0, count)

    def __iter__(self):
        return iter([self.digits[index] for index in range(len(self.digits))])


def few(kind: str, count: int, batch_size: int) -> object:
    """Return digits in a dataset, chosen by a sampler, in a stream, or in batches made by hand."""
    if kind == "stream":
        return DataLoader(Stream(count), batch_size=batch_size)
    if kind == "sampler":
        return DataLoader(digits(0, 30), batch_size=batch_size, sampler=range(count))
    loader = DataLoader(digits(0, count), batch_size=batch_size)
    return DataLoader([*loader], batch_size=None) if kind == "batches" else loader


class Words(Dataset):
    """Sequences of tokens, whose length is that of the longest in a batch."""

    def __len__(self) -> int:
        return 20

    def __getitem__(self, index: int):
        return torch.arange(3 + index * 7 % 5) % 11, index % 3


def padded(items):
    words, labels = zip(*items, strict=True)
    return nn.utils.rnn.pad_sequence(words, batch_first=True), torch.tensor(labels)


def words(batch_size: int = 8) -> DataLoader:
    return DataLoader(Words(), batch_size=batch_size, collate_fn=padded)


class Reader(nn.Module):
    """Attention over tokens; the embedding's weights are tied to those of the output."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 8)
        self.attention = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.vocabulary = nn.Linear(8, 11, bias=False)
        self.vocabulary.weight = self.embed.weight
        self.head = nn.Linear(11, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.vocabulary(self.attention(self.embed(tokens))).mean(1))


class Double(nn.Module):
    """It computes in double precision."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 10).double()

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.double())


def halved(x: Tensor, by: float = 2.0) -> Tensor:
    return x / by


def in_numpy(x: Tensor) -> Tensor:
    return torch.from_numpy(x.numpy() / 2)
