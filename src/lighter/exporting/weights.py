"""The weights of a run's checkpoint as a safetensors file, for programs that know neither Lighter nor Lightning."""

from __future__ import annotations

import os
import pickle
from collections.abc import Hashable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lighter import __version__
from lighter.callbacks.writers.disk import publish, sync
from lighter.config.problems import Problem, nearest
from lighter.errors import CheckpointError, ConfigError, StorageError
from lighter.files.atomic import sync_folder
from lighter.files.folders import is_sharded
from lighter.files.integrity import verify
from lighter.files.partials import partial_of, sweep
from lighter.files.run_folder import RunFolder
from lighter.parts.optimization.parameter_groups import as_written
from lighter.runs.find_checkpoint import find_in_run, refuse_other_files
from lighter.trainer.checkpointing.manifest import describe

SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Exported:
    """A safetensors file that was written.

    Attributes:
        checkpoint: the file that it was made from.
        tied: tensors that are the same as another one, which alone is in the file: name -> name of that one.
        left_out: entries of the state dict that are no tensors.
    """

    path: Path
    checkpoint: Path
    tensors: int
    size: int
    tied: Mapping[str, str]
    left_out: list[str]
    metadata: Mapping[str, str]


def export_weights(
    run: RunFolder,
    checkpoint: str | None = None,
    output: Path | None = None,
    module: str | None = None,
    *,
    force: bool = False,
) -> Exported:
    """Write the weights of a checkpoint of a run into a safetensors file.

    Args:
        checkpoint: `best`, `last`, or a path, also one within the run's folder of checkpoints; by default the best if
            there is one, otherwise the last.
        output: the file to write; by default it lies beside the checkpoint and is called as that is.
        module: only the weights of this part (`network`), under the names that it has for them itself.

    Raises:
        CheckpointError: there is no such checkpoint, it cannot be read, or its weights cannot be in such a file.
        ConfigError: there is no such module in it, or the file exists already and is not to be written over by `force`.
        StorageError: the file cannot be written.
    """
    if find_spec("safetensors") is None:
        raise ConfigError([Problem("this needs the package safetensors: pip install safetensors")])
    source = find_in_run(run, checkpoint)
    target = output or source.with_suffix(f".{module}{SUFFIX}" if module else SUFFIX)
    if target.suffix == source.suffix:
        raise ConfigError([Problem(f"{target} would be a checkpoint by its name", hint=f"Name a file *{SUFFIX}.")])
    if os.path.lexists(target) and not (force and _is_file(target)):
        raise _exists(target)
    content = _opened(source)
    state = {as_written(name): value for name, value in content["state_dict"].items()}
    if module is not None:
        state = _of_module(state, module, source)
    weights, tied = without_tied({name: value for name, value in state.items() if isinstance(value, Tensor)})
    if not weights:
        raise CheckpointError(f"{source} has no weights")
    metadata = {**tied, **_facts(run, source, content)}
    _write(weights, metadata, target, force=force)
    left_out = [name for name, value in state.items() if not isinstance(value, Tensor)]
    return Exported(target, source, len(weights), target.stat().st_size, tied, left_out, metadata)


def without_tied(weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return tensors as safetensors takes them: each alone in its memory, contiguous and dense.

    Return those that are the same as an earlier one too: name -> name of that one.
    """
    names: dict[Hashable, str] = {}
    tied: dict[str, str] = {}
    alone: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        if tensor.layout is not torch.strided or tensor.is_quantized:
            raise CheckpointError(f"`{name}` is sparse or quantized, and safetensors holds plain tensors only")
        view = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype) if tensor.numel() else name
        first = names.setdefault(view, name)
        if first != name:
            tied[name] = first
        # A view shares its memory with a larger tensor.
        elif tensor.is_contiguous() and tensor.untyped_storage().nbytes() == tensor.nbytes:
            alone[name] = tensor
        else:
            alone[name] = tensor.clone(memory_format=torch.contiguous_format)
    return alone, tied


def _of_module(state: Mapping[str, Any], module: str, source: Path) -> dict[str, Any]:
    start = f"{module}."
    inside = {name.removeprefix(start): value for name, value in state.items() if name.startswith(start)}
    if not inside:
        modules = sorted({name[:end] for name in state for end, letter in enumerate(name) if letter == "."})
        raise ConfigError([Problem(f"`{module}` has no weights in {source}", hint=nearest(module, modules))])
    return inside


def _opened(path: Path) -> Mapping[str, Any]:
    if path.is_dir() and not is_sharded(path):
        raise CheckpointError(f"{path} is a sharded checkpoint that only its strategy reads")
    # Before it is opened, since a damaged file may raise anything when it is loaded.
    verify(path)
    is_file = not path.is_dir()
    if is_file:
        refuse_other_files(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True) if is_file else _weights_of_shards(path)
    except CheckpointError:
        raise
    except pickle.UnpicklingError as error:
        raise not_opened(path, error) from error
    except Exception as error:  # a broken file may raise anything
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise CheckpointError(f"{path} cannot be read as a checkpoint: {reason}") from error
    if not isinstance(content, Mapping) or not isinstance(content.get("state_dict"), Mapping):
        raise CheckpointError(f"{path} is no checkpoint of Lightning's: it has no `state_dict`")
    return content


def not_opened(path: Path, reason: BaseException) -> CheckpointError:
    """Make the error of a checkpoint that only a loading with code could open."""
    return CheckpointError(
        f"{path} holds more than weights and plain data, and loading that can run code: it is not opened for an"
        f" export.\n{str(reason).partition(chr(10))[0]}"
    )


def _weights_of_shards(path: Path) -> Mapping[str, Any]:
    from lighter.trainer.checkpointing.sharded_reading import read_whole

    return read_whole(path, optimizers=False)


def _facts(run: RunFolder, source: Path, content: Mapping[str, Any]) -> dict[str, str]:
    manifest = describe(content, source.stat().st_size, source.parent)
    facts = {"epoch": manifest.epoch, "step": manifest.step, "config_sha256": manifest.config}
    return {
        "format": "pt",  # what other programs ask for
        "lighter.version": __version__,
        "lighter.runs": run.id,
        "lighter.checkpoint": source.name,
        **{f"lighter.{name}": str(value) for name, value in facts.items() if value is not None},
    }


def _write(weights: dict[str, Tensor], metadata: dict[str, str], target: Path, *, force: bool) -> None:
    aside = partial_of(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # Made by us, it has the permissions that the user's other files have: see `_save`.
        aside.touch()
        _save(weights, metadata, aside)
        sync(aside)
        if force:
            os.replace(aside, target)
        elif not publish(aside, target):
            raise _exists(target)
        sweep(target.parent)
        sync_folder(target.parent)
    except OSError as error:
        error.filename = str(target)  # not the file aside
        raise StorageError(f"{target} cannot be written: {error.strerror or error}", error.errno) from error
    finally:
        with suppress(OSError):
            aside.unlink()


def _save(weights: dict[str, Tensor], metadata: dict[str, str], path: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    mode = path.stat().st_mode
    try:
        save_file(weights, path, metadata=metadata)
    except KeyError as error:
        raise CheckpointError(f"safetensors has no {error}, which some of these weights are") from error
    except SafetensorError as error:
        raise OSError(str(error)) from error
    # safetensors renames a temporary file to it, which only its owner may read.
    path.chmod(mode)


def _exists(target: Path) -> ConfigError:
    hint = "Name another file with --output, or add --force."
    if not _is_file(target):
        hint = "It is no file; name one with --output."
    return ConfigError([Problem(f"{target} is there already", hint=hint)])


def _is_file(target: Path) -> bool:
    return target.is_file() or target.is_symlink()
