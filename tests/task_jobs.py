"""Modules with prediction tasks, on both rungs: probabilities and misread digits that share a softmax."""

from __future__ import annotations

import json
from collections import Counter

import torch

import lighter
from tests.jobs import Classifier

CALLS: Counter[str] = Counter()


def softmax(self, batch):
    CALLS["softmax"] += 1
    return self(batch[0]).softmax(dim=1)


def start(self):
    CALLS["start"] += 1
    return {"dependency": ["softmax"]}


def probs(self, batch, softmax):
    CALLS["probs"] += 1
    return softmax


def save_probs(self, result, output_path):
    torch.save(torch.cat(result), output_path / f"rank-{self.global_rank}.pt")


def misread(self, batch, batch_idx, softmax, result, dataloader_idx=0):
    """Where the digits are that were misread: loader, batch, place."""
    wrong = (softmax.argmax(dim=1) != batch[1]).nonzero().flatten().tolist()
    result |= {(dataloader_idx, batch_idx, place) for place in wrong}


def start_misread(self):
    return {"dependency": ["softmax"], "result": set()}


def save_misread(self, result, output_path):
    (output_path / f"rank-{self.global_rank}.json").write_text(json.dumps(sorted(result)))


FAMILY = {
    "predict_softmax_dependency": softmax,
    "predict_probs_start": start,
    "predict_probs": probs,
    "predict_probs_end": save_probs,
    "predict_misread_start": start_misread,
    "predict_misread": misread,
    "predict_misread_end": save_misread,
}


class Alone(lighter.LighterModule):
    """Tasks and no step; hooks that do not call `super()`."""

    locals().update(FAMILY)

    def on_predict_start(self):
        CALLS["on_predict_start"] += 1
        self.is_ready = True

    def predict_probs_start(self):
        assert self.is_ready, "the user's hook comes first"
        return start(self)

    def on_predict_end(self):
        CALLS["on_predict_end"] += 1


class Beside(Classifier):
    """Tasks beside a `predict_step`, in a class that calls its parent's."""

    locals().update(FAMILY)

    def predict_step(self, batch, batch_idx, dataloader_idx=0):
        CALLS["predict_step"] += 1
        return super().predict_step(batch, batch_idx)


class OfSystem(lighter.System):
    locals().update({**FAMILY, "predict_softmax_dependency": lambda self, batch, step_output: softmax_of(step_output)})


def softmax_of(output):
    CALLS["softmax"] += 1
    return output["pred"].softmax(dim=1)


class Failing(Classifier):
    def predict_probs(self, batch):
        raise IndexError("no such digit")
