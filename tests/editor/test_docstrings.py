"""Texts of classes and arguments, from docstrings as people write them."""

from __future__ import annotations

import pytest
import torch
from pytorch_lightning.callbacks import EarlyStopping

import lighter
from lighter.editor.docstrings import MOST, argument_texts, summary


def google(lr, betas, name, unknown=None):
    """Do one thing, and
    do it well.

    More about it.

    Args:
        lr (float, Tensor, optional): the learning rate, of
            every group (default: 1e-3)

            A second paragraph.
        betas (Tuple[float, float]): two numbers: see :class:`~torch.optim.Adam`.
        *name: all others
            .. versionadded:: 2

    Returns:
        result: nothing
    """


def numpy_style(lr, betas, name):
    """Do one thing.

    Parameters
    ----------
    lr : float, default=0.1
        The learning rate.

        More of it.
    betas, name : tuple of float
        Two numbers.

    Returns
    -------
    result : float
        Nothing.
    """


def rest(lr, betas, name):
    """Do one thing.

    :param lr: the learning rate
        of every group
    :param float betas: two numbers
    :type betas: float
    :returns: nothing
    """


def test_google():
    assert summary(google) == "Do one thing, and do it well."
    assert argument_texts(google) == {
        "lr": "the learning rate, of every group (default: 1e-3)",
        "betas": "two numbers: see `torch.optim.Adam`.",
        "name": "all others",
    }


def test_numpy():
    two = "Two numbers."
    assert argument_texts(numpy_style) == {"lr": "The learning rate.", "betas": two, "name": two}


def test_rest():
    assert argument_texts(rest) == {"lr": "the learning rate of every group", "betas": "two numbers"}


def test_a_class_has_the_texts_of_its_bases_and_no_summary_of_theirs():
    class Stops(EarlyStopping):
        def __init__(self, extra, **kwargs):
            """Stop.

            Args:
                extra: what is new.
                patience: what is otherwise.
            """

    assert summary(Stops) == ""
    texts = argument_texts(Stops)
    assert (texts["extra"], texts["patience"]) == ("what is new.", "what is otherwise.")
    assert texts["monitor"] == "quantity to be monitored."


@pytest.mark.parametrize(
    ("target", "argument", "beginning"),
    [
        (torch.nn.Linear, "in_features", "size of each input sample"),
        (torch.utils.data.DataLoader, "batch_size", "how many samples per batch"),
        (torch.optim.AdamW, "betas", "coefficients used for computing"),
        (lighter.Trainer, "exact_resume", "random numbers are a function"),
        (lighter.Trainer, "max_epochs", "Stop training once this number"),
        (lighter.System, "adapters", "by mode"),
    ],
)
def test_texts_of_libraries(target, argument, beginning):
    assert argument_texts(target)[argument].startswith(beginning)
    assert all(0 < len(text) <= MOST for text in argument_texts(target).values())


def test_a_signature_is_no_summary_and_nothing_is_an_empty_one():
    assert summary(torch.softmax) == "Alias for `torch.nn.functional.softmax`."
    assert summary(lambda x: x) == summary(type("Bare", (), {})) == ""
    assert argument_texts(lambda x: x) == argument_texts(type("Bare", (), {})) == {}
