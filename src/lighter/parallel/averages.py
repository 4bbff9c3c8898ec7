"""Callbacks that copy the network, which one that is divided over processes does not allow."""

from __future__ import annotations

from pytorch_lightning.callbacks import StochasticWeightAveraging, WeightAveraging

AVERAGES = (StochasticWeightAveraging, WeightAveraging)
NOT_AVERAGED = "{} copies the network, and one that `parallel` divides cannot be copied"
