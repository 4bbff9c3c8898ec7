"""Read the folders that `sharded` writes: shard by shard into a sharded module, or whole into one process."""

from __future__ import annotations

import pickle
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Trainer
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.optim import Optimizer

from lighter._lightning.saves import has_shards, without_first_steps
from lighter._lightning.sharded import REST, load_shards, load_whole, read_metadata
from lighter.errors import CheckpointError, DamagedCheckpointError
from lighter.parts.allocation import unfilled_memory
from lighter.trainer.checkpointing.io import GRADIENTS, WEIGHTS
from lighter.trainer.checkpointing.sharded import OPTIMIZER, OPTIMIZERS
from lighter.trainer.resume.state import KEY

_SHOWN = 5


def read_folder(trainer: Trainer, path: Path, *, weights_only: bool) -> dict[str, Any]:
    """Load a checkpoint for a trainer.

    Where the trainer's own module is sharded, weights and optimizers are loaded into it, whatever the number of
    processes that saved them; what is returned has the rest. Elsewhere it has everything, as a file has.

    Raises:
        CheckpointError: it cannot be read, or does not fit the module.
        pickle.UnpicklingError: it holds more than plain data, and only that is to be read.
    """
    if not has_shards(trainer):
        return read_whole(path, weights_only=weights_only)
    source = _Folder(path, weights_only=weights_only)
    model: Any = trainer.strategy.model
    _load_weights(source, model, strict=trainer.lightning_module.strict_loading)
    for number, optimizer in enumerate(trainer.optimizers):
        _load_optimizer(source, OPTIMIZER.format(number), model, optimizer)
    named = trainer.lightning_module.named_parameters()
    gradients = {name: torch.zeros_like(one) for name, one in named if source.has(GRADIENTS, name)}
    return _with_gradients(source.rest, source.load(GRADIENTS, gradients) if gradients else {})


def load_weights(trainer: Trainer, path: Path, *, weights_only: bool) -> None:
    """Load the weights of a checkpoint, a file or a folder, into a trainer's module, sharded or not.

    Raises:
        CheckpointError: it cannot be read, or does not fit the sharded module.
        RuntimeError: it does not fit the module.
        pickle.UnpicklingError: it holds more than plain data, and only that is to be read.
    """
    module = trainer.lightning_module
    if path.is_dir() and has_shards(trainer):
        _load_weights(_Folder(path, weights_only=weights_only), module, strict=module.strict_loading)
        return
    content = read_weights(path, weights_only=weights_only)
    if has_shards(trainer):
        options = StateDictOptions(full_state_dict=True, strict=module.strict_loading)
        set_model_state_dict(module, content[WEIGHTS], options=options)
    else:
        module.load_state_dict(content[WEIGHTS])


@unfilled_memory()
def read_weights(path: Path, *, weights_only: bool) -> dict[str, Any]:
    """Load a checkpoint, a file or a folder, in one process; of a folder, without the states of the optimizers.

    Raises:
        DamagedCheckpointError: the folder cannot be read.
        pickle.UnpicklingError: it holds more than plain data, and only that is to be read.
    """
    if path.is_dir():
        return read_whole(path, weights_only=weights_only, optimizers=False)
    content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=weights_only)
    return content


def _load_weights(source: _Folder, model: Any, *, strict: bool) -> None:
    weights = get_model_state_dict(model)
    _refuse_misfit(weights, source, strict=strict)
    weights = source.load(WEIGHTS, {name: value for name, value in weights.items() if source.has(WEIGHTS, name)})
    set_model_state_dict(model, weights, options=StateDictOptions(strict=strict))


def _load_optimizer(source: _Folder, name: str, model: Any, optimizer: Optimizer) -> None:
    # torch steps it to have tensors to load into, which would stay where there is nothing to load
    is_empty = not source.has(name, "state.")
    with without_first_steps([optimizer] if is_empty else []):
        state: Any = get_optimizer_state_dict(model, optimizer)
        kept = {key: value for key, value in state["state"].items() if source.has(name, f"state.{key}.")}
        state = source.load(name, {**state, "state": kept})
        set_optimizer_state_dict(model, optimizer, optim_state_dict=state)


@unfilled_memory()
def read_whole(path: Path, *, weights_only: bool = True, optimizers: bool = True) -> dict[str, Any]:
    """Load a checkpoint as a file has it, in one process; without the `optimizers`, it has weights only.

    Raises:
        DamagedCheckpointError: it cannot be read.
        pickle.UnpicklingError: it holds more than plain data, and only that is to be read.
    """
    source = _Folder(path, weights_only=weights_only)
    shards = source.load_whole(None if optimizers else [WEIGHTS])
    states = [shards[name] for name in source.optimizers] if optimizers else []
    return _as_file(source, shards.get(WEIGHTS, {}), states, shards.get(GRADIENTS, {}))


@unfilled_memory()
def read_outline(path: Path, *, weights_only: bool = True) -> dict[str, Any]:
    """Load a checkpoint without the content of its shards: the weights are on the device `meta`.

    Raises:
        DamagedCheckpointError: it cannot be read.
        pickle.UnpicklingError: it holds more than plain data, and only that is to be read.
    """
    source = _Folder(path, weights_only=weights_only)
    return _as_file(source, source.on_meta(WEIGHTS), [{} for _ in source.optimizers], source.on_meta(GRADIENTS))


def refuse_pickles(path: Path) -> None:
    """Refuse a folder that holds more than plain data, before somebody loads it by `pickle`.

    Raises:
        DamagedCheckpointError: it cannot be read.
        pickle.UnpicklingError: it holds more than plain data.
    """
    source = _Folder(path, weights_only=True)
    source.load_whole([name for name, facts in source.saved.items() if not isinstance(facts, TensorStorageMetadata)])


def _as_file(source: _Folder, weights: Any, optimizers: list[Any], gradients: Mapping[str, Tensor]) -> dict[str, Any]:
    # without optimizers it has weights only, as such a file
    states = {OPTIMIZERS: optimizers} if optimizers else {}
    return {**_with_gradients(source.rest, gradients), WEIGHTS: weights, **states}


def _with_gradients(rest: dict[str, Any], gradients: Mapping[str, Tensor]) -> dict[str, Any]:
    # where `resume.state` looks for those of a process
    if gradients:
        for process in rest["loops"]["fit_loop"]["state_dict"][KEY]["processes"]:
            process["gradients"] = gradients
    return rest


class _Folder:
    """A folder of shards, and what is in none of them: `rest`."""

    def __init__(self, path: Path, *, weights_only: bool) -> None:
        self.path, self._weights_only = path, weights_only
        try:
            rest = torch.load(path / REST, map_location="cpu", weights_only=weights_only)
            self.saved = read_metadata(path, weights_only=weights_only).state_dict_metadata
        except pickle.UnpicklingError:
            raise
        except Exception as error:  # a broken file may raise anything
            raise _unreadable(path, error) from error
        self.rest: dict[str, Any] = dict(rest) if isinstance(rest, Mapping) else {}

    @property
    def optimizers(self) -> list[str]:
        """The names of the optimizers' shards, in their order."""
        names = {name.partition(".")[0] for name in self.saved if name.startswith(OPTIMIZER.format(""))}
        return sorted(names, key=lambda name: (len(name), name))

    def has(self, section: str, name: str) -> bool:
        """Return whether there is a shard of this name, or of one that begins so if it ends with a dot."""
        full = f"{section}.{name}"
        return any(one.startswith(full) for one in self.saved) if full.endswith(".") else full in self.saved

    def on_meta(self, section: str) -> dict[str, Tensor]:
        return {
            name.removeprefix(f"{section}."): torch.empty(facts.size, dtype=facts.properties.dtype, device="meta")
            for name, facts in self.saved.items()
            if name.startswith(f"{section}.") and isinstance(facts, TensorStorageMetadata)
        }

    def load(self, section: str, state: Any) -> Any:
        """Load shards into tensors that are shards of another form. A collective operation."""
        sections = {section: state}
        with self._errors():
            load_shards(sections, self.path, weights_only=self._weights_only)
        return sections[section]

    def load_whole(self, sections: Collection[str] | None) -> dict[str, Any]:
        with self._errors():
            return load_whole(self.path, sections, weights_only=self._weights_only)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except CheckpointException as failed:  # equal in all processes
            error = min(failed.failures.items())[1][0]
            if isinstance(error, pickle.UnpicklingError) or not isinstance(error, Exception):
                raise error from None
            raise _unreadable(self.path, error) from failed


def _refuse_misfit(weights: Mapping[str, Any], source: _Folder, *, strict: bool) -> None:
    there = source.on_meta(WEIGHTS)
    lines = [
        f"`{name}` has the shape {list(value.shape)}, and {list(there[name].shape)} in the checkpoint"
        for name, value in weights.items()
        if isinstance(value, Tensor) and name in there and value.shape != there[name].shape
    ]
    if strict:
        lines += [f"`{name}` is not in the checkpoint" for name in weights if not source.has(WEIGHTS, name)]
        lines += [f"`{name}` is not in the model" for name in there if name not in weights]
    if lines:
        more = [f"... and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
        raise CheckpointError("\n  ".join([f"{source.path} does not fit this model:", *lines[:_SHOWN], *more]))


def _unreadable(path: Path, error: Exception) -> DamagedCheckpointError:
    reason = str(error).partition("\n")[0] or type(error).__name__
    return DamagedCheckpointError(f"{path} cannot be read as a checkpoint: {reason}")
