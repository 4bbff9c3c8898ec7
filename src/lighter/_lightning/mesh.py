"""Lightning's strategy for sharded modules, with sizes that are worked out when the number of processes is known."""

from __future__ import annotations

from typing import Any

from pytorch_lightning.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed._composable.checkpoint_activation import checkpoint
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Replicate, distribute_module
from torch.distributed.tensor.parallel import ParallelStyle
from torch.utils._pytree import tree_map_only


class MeshStrategy(ModelParallelStrategy):
    """A `ModelParallelStrategy` that asks for the sizes of its mesh, and saves sharded checkpoints."""

    def __init__(self) -> None:
        # on one process too, so that a checkpoint has the same form on however many it is resumed
        super().__init__(save_distributed_checkpoint=True)

    def sizes(self, processes: int) -> tuple[int, int]:
        """Return how many processes the data is divided over, and each layer."""
        raise NotImplementedError

    def setup_environment(self) -> None:
        # Lightning reads them when it makes the mesh; `auto` is for it one data rank per node
        self._data_parallel_size, self._tensor_parallel_size = self.sizes(self.world_size)
        super().setup_environment()


def checkpoint_activations(module: nn.Module) -> None:
    """Let a module compute its activations again in the backward pass, in place of keeping them."""
    # the public `checkpoint_wrapper` puts a name of its own into the names of parameters
    checkpoint(module)


class Whole(ParallelStyle):
    """Keep a module whole on each tensor rank, for inputs that are equal on all of them."""

    def _apply(self, module: nn.Module, device_mesh: DeviceMesh) -> nn.Module:
        return distribute_module(module, device_mesh, None, _whole_inputs, _local_outputs)


def _whole_inputs(module: nn.Module, inputs: Any, mesh: DeviceMesh) -> Any:
    def whole(tensor: Tensor) -> Tensor:
        if isinstance(tensor, DTensor):
            return tensor
        return DTensor.from_local(tensor, mesh, (Replicate(),), run_check=False)

    return tree_map_only(Tensor, whole, inputs)


def _local_outputs(module: nn.Module, outputs: Any, mesh: DeviceMesh) -> Any:
    return tree_map_only(DTensor, lambda tensor: tensor.to_local(), outputs)
