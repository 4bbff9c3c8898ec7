"""Convert tensors of a subclass to plain ones, which can be loaded with `weights_only=True`."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from lighter._lightning.torch_internals import without_subclass_functions


def plain_tensor(value: Tensor) -> Tensor:
    """Detach a tensor and remove its subclass, MONAI's `MetaTensor` say.

    Subclasses whose numbers are elsewhere (quantized, sharded, not there yet) stay what they are; so do parameters.
    """
    if isinstance(value, nn.Parameter) or is_lazy(value):
        return value
    detached = value.detach()
    if type(detached) is Tensor or type(detached).__torch_dispatch__ is not Tensor.__torch_dispatch__:
        return detached
    with without_subclass_functions():  # the subclass would take it back
        return detached.as_subclass(Tensor)
