"""The strategy of the section `parallel`."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from lighter._lightning.mesh import MeshStrategy
from lighter._lightning.recorded_init import Recording, fill
from lighter.errors import MisfitError
from lighter.parallel.averages import AVERAGES, NOT_AVERAGED
from lighter.parallel.ranks import DataRanks, set_data_ranks
from lighter.parallel.same_batches import SameBatches
from lighter.parallel.settings import NO_SHARDS, NO_SHARDS_HINT, ParallelSettings
from lighter.parallel.sharding import Division, Means, divide, is_divided

log = logging.getLogger("lighter")


class ParallelStrategy(MeshStrategy):
    """Divide a module over processes as the section `parallel` says; the module calls `divide`.

    Attributes:
        recording: of the network's weights, if it was made without memory.
    """

    def __init__(self, settings: ParallelSettings) -> None:
        super().__init__()
        self.settings = settings
        self.recording: Recording | None = None

    def sizes(self, processes: int) -> tuple[int, int]:
        try:
            return self.settings.sizes(processes)
        except ValueError as error:
            raise MisfitError(f"parallel: {error}") from None

    def setup_environment(self) -> None:
        super().setup_environment()
        data, tensor = self.device_mesh["data_parallel"], self.device_mesh["tensor_parallel"]
        set_data_ranks(DataRanks(data.get_local_rank(), data.size(), data.get_group(), tensor.size()))
        if tensor.size() > 1:
            # first, so that no other callback has done anything with a batch that is refused
            self._callbacks().insert(0, SameBatches(tensor.get_group()))

    def teardown(self) -> None:
        self._callbacks()[:] = [each for each in self._callbacks() if not isinstance(each, SameBatches)]
        set_data_ranks(None)
        super().teardown()

    @contextmanager
    def tensor_init_context(self, empty_init: bool | None = None) -> Iterator[None]:
        """Let `configure_model` draw the numbers of the first process, so that all make the same weights."""
        torch.set_rng_state(self.broadcast(torch.get_rng_state()))
        with super().tensor_init_context(empty_init):
            yield

    def fill(self, module: pl.LightningModule) -> None:
        """Give all weights their memory, where something needs them before they are divided."""
        if self.recording is not None:
            fill(module, self.recording)

    def divide(self, module: pl.LightningModule, prefixes: tuple[str, ...]) -> None:
        """Divide a module; one that is divided, by an earlier stage, stays as it is.

        Raises:
            MisfitError: the section does not fit the module, or a part of the fit does not work with it.
        """
        self._refuse()
        if is_divided(module):
            return
        division = Division.of(self.settings, module, prefixes)
        data, tensor = (self.device_mesh[name].size() for name in ("data_parallel", "tensor_parallel"))
        if data > 1 and not division.shards:
            raise MisfitError(f"parallel::shard: {NO_SHARDS}, of which there are {data}. {NO_SHARDS_HINT}")
        precision = str(self.precision_plugin.precision)
        divide(
            module, division, Means(self.device_mesh, precision, self.precision_plugin.convert_module, self.recording)
        )
        self.recording = None
        log.info("parallel: %d data ranks, %d tensor ranks, %d units", data, tensor, len(division.units))

    def _callbacks(self) -> list[Callback]:
        module = self.lightning_module
        return module.trainer.callbacks if module is not None else []  # type: ignore[attr-defined]

    def _refuse(self) -> None:
        averages = [type(each).__name__ for each in self._callbacks() if isinstance(each, AVERAGES)]
        if averages:
            raise MisfitError(NOT_AVERAGED.format(averages[0]))
