from __future__ import annotations

import pickle
from argparse import Namespace
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lighter.trainer.checkpointing.weights_only import plain, refused, what_to_do


def test_what_becomes_plain() -> None:
    given = {
        "hyper_parameters": {
            "root": Path("data"),
            "lr": np.float64(0.1),
            "sizes": [np.int64(3), (np.bool_(True), "x")],
        },
        "callbacks": {"Mine": {"best": np.float64(2.5), "name": np.str_("x")}},
    }
    changed = plain(given)
    assert changed == {
        "hyper_parameters": {"root": "data", "lr": 0.1, "sizes": [3, (True, "x")]},
        "callbacks": {"Mine": {"best": 2.5, "name": "x"}},
    }
    torch.save(changed, "plain.ckpt")
    assert refused("plain.ckpt") == []
    assert repr(torch.load("plain.ckpt", weights_only=True)) == repr(changed)
    assert isinstance(given["hyper_parameters"]["root"], Path), "what the user has is what it was"


def test_what_stays() -> None:
    given = {
        "state_dict": {"w": torch.zeros(3)},
        "hyper_parameters": {
            "options": Namespace(a=1),
            "half": np.float16(0.1),
            "array": np.zeros(2),
            "plain": [1, "x"],
        },
        "callbacks": {"Mine": {"folder": Path("x")}},
    }
    changed = plain(given)
    assert all(changed[key] is given[key] for key in given)
    assert plain(given["state_dict"]["w"]) is given["state_dict"]["w"]
    around: dict[str, Any] = {"loops": {}}
    around["loops"]["itself"] = around["loops"]
    assert plain(around) is around


class Encoder:
    pass


def test_what_is_not_plain_is_named() -> None:
    given = {
        "hyper_parameters": {
            "encoder": Encoder(),
            "many": [1, {"kind": torch.optim.SGD}],
            "size": 3,
            "d": torch.float32,
        },
        "callbacks": {"Mine": {"values": np.zeros(2), "seen": deque([1]), "weight": torch.nn.Parameter(torch.ones(2))}},
    }
    assert what_to_do(given, "last.ckpt") == (
        "last.ckpt holds more than weights and plain data. All of it is saved, but it can be loaded only with"
        " weights_only=False (--no-weights_only), which can run code:\n"
        "  hyper_parameters::encoder: tests.trainer.checkpointing.test_weights_only.Encoder\n"
        "  hyper_parameters::many::1::kind: torch.optim.sgd.SGD\n"
        "  callbacks::Mine::values: numpy.ndarray\n"
        "  callbacks::Mine::seen: collections.deque\n"
        "Leave objects out of the hyperparameters with save_hyperparameters(ignore=[...]), and have state_dict()"
        " of callbacks and data modules return tensors, numbers, text, lists and dicts"
    )
    assert "\n  number: builtins.int\n" in what_to_do({"number": 1 << 5000}, "last.ckpt")
    many = {"callbacks": {str(number): deque() for number in range(7)}}
    assert "\n  ... and 2 more\n" in what_to_do(many, "last.ckpt")


def test_what_torch_has_no_means_to_read() -> None:
    torch.save({"number": 1 << 5000}, "x.ckpt")
    assert refused("x.ckpt") != []
    with pytest.raises(pickle.UnpicklingError):
        torch.load("x.ckpt", weights_only=True)


@pytest.mark.parametrize("value", [3, "x", None, {1, 2}, torch.float32, 1j, b"x", torch.Size([3]), torch.device("cpu")])
def test_what_torch_reads_is_not_named(value: Any) -> None:
    torch.save({"a": value}, "x.ckpt")
    assert refused("x.ckpt") == []
