"""The objects of a config or a checkpoint, in Python and without a run: `lighter.build` and `lighter.load`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule, seed_everything
from pytorch_lightning.utilities.seed import isolate_rng

from lighter.base import BaseModule
from lighter.config import Config, read
from lighter.config.load import Input, Inputs, listed
from lighter.config.objects import Objects
from lighter.config.safe import SafeMode
from lighter.engine.build import Parts, build_data, build_module, build_trainer, prepare_split
from lighter.engine.failures import where_it_failed
from lighter.engine.lightning_classes import is_overridden
from lighter.engine.notebook import shown_in_notebook
from lighter.engine.plan import plan_of
from lighter.engine.project import as_safe_mode, confined, importable
from lighter.errors import CheckpointError
from lighter.files.folders import is_sharded
from lighter.files.run_folder import OUTPUTS, RECORD
from lighter.files.storage import expanded
from lighter.parts.weights.materialize import materialize
from lighter.runs.find_checkpoint import checkpoints_of, find_in_run, read_checkpoint, verify
from lighter.runs.read import read_run, trusted
from lighter.runs.record import CHECKPOINT_KEY, refuse_unsaved
from lighter.runs.select import LAST, find_run


@shown_in_notebook
def build(inputs: Inputs, stage: str = "fit", *, safe: SafeMode | bool | None = None) -> Parts:
    """Build the module, the data module and the trainer of a config, as a stage begins with them. Nothing is run.

    The config's `seed` is set, so that the weights are those that `lighter fit` begins with. No folder is made; the
    trainer writes where a script's would, unless the config says otherwise.

    Args:
        inputs: a config file, a dict, an override, or several of them, as for `Runner.run`.
        stage: the stage whose objects are built: `fit`, `validate`, `test` or `predict`.
        safe: treat the config as untrusted: see `Runner`.

    Returns:
        `module`, `data` (None if the module has its own) and `trainer`.

    Raises:
        ConfigError: the config is wrong.
    """
    with objects_of(listed(inputs), as_safe_mode(safe)) as (config, objects):
        refuse_unsaved(config)
        plan = plan_of(objects, stage)
        prepare_split(objects, plan)
        seed_everything(config.seed, workers=True, verbose=False)
        module = build_module(objects, plan)
        return Parts(module, build_data(objects, plan), build_trainer(objects))


def load(
    source: str | Path = LAST,
    ckpt_path: str | Path | None = None,
    *,
    overrides: Sequence[Input] = (),
    root: str | Path = OUTPUTS,
    weights_only: bool = True,
    safe: SafeMode | bool | None = None,
) -> LightningModule:
    """Load a trained module, ready to predict: in evaluation mode and on the CPU.

    The module is made from the config in the checkpoint, whose targets are called: load only what you trust, or in safe
    mode. Random numbers are drawn as if nothing had been loaded.

    Args:
        source: a checkpoint; or a run: its folder, its id, the beginning of one, or `last` for the newest that has
            checkpoints.
        ckpt_path: which checkpoint of a run: `best`, `last` or a path, also one within its folder of checkpoints; by
            default the best if there is one, otherwise the last.
        overrides: changes of the config: `["model::network::dropout=0"]`.
        root: where the runs are.
        weights_only: false if the checkpoint may hold objects, which can run code while they are loaded.
        safe: call only what is on the list of safe mode: see `Runner`.

    Returns:
        The module, a LightningModule.

    Raises:
        RunError: there is no such run.
        CheckpointError: there is no such checkpoint, or it cannot be used.
        ConfigError: the config makes no module any more.
    """
    path = _checkpoint(source, ckpt_path, Path(root))
    module = load_checkpoint(path, overrides, weights_only=weights_only, safe=as_safe_mode(safe))
    if module is None:
        raise CheckpointError(
            f"{path} has no config with it, as no run of Lighter saved it. Load it by its class:"
            f" MyModule.load_from_checkpoint({str(path)!r})"
        )
    return module.eval()


def load_checkpoint(
    path: Path,
    overrides: Sequence[Input] = (),
    *,
    arguments: Mapping[str, Any] | None = None,
    strict: bool | None = None,
    weights_only: bool = True,
    safe: SafeMode | None = None,
) -> LightningModule | None:
    """Load the module that is made from the config in a checkpoint; None if there is no config in it.

    `arguments` of the module go in the place of the config's. With `strict`, the names of the weights must be the
    module's; by default as the module says.
    """
    # A run in safe mode did not trust its config, and neither does a script that loads its checkpoint.
    run = next((folder for folder in path.resolve().parents if (folder / RECORD).is_file()), None)
    if safe is None and run is not None:
        trusted(read_run(run))
    verify(str(path), weights_only=weights_only, safe=safe is not None)
    checkpoint = read_checkpoint(path, weights_only=weights_only)
    ours = checkpoint.get(CHECKPOINT_KEY)
    saved = ours.get("config") if isinstance(ours, Mapping) else None
    if not isinstance(saved, dict):
        return None
    changes: list[Input] = [{"system" if "system" in saved else "model": dict(arguments)}] if arguments else []
    with isolate_rng(), objects_of([saved, *overrides, *changes], safe) as (config, objects):
        refuse_unsaved(config, within=objects.followed(config.module_section))
        module = build_module(objects, plan_of(objects, "predict"))
        load_weights(module, checkpoint, path, strict)
    return module


@contextmanager
def objects_of(inputs: Sequence[Input], safe: SafeMode | None) -> Iterator[tuple[Config, Objects]]:
    """Read a config, and make what it names importable while its objects are built."""
    config = read(inputs, safe)
    with confined(config), importable(config, Path.cwd()):
        objects = config.objects()
        with where_it_failed(objects):
            yield config, objects


def _checkpoint(source: str | Path, ckpt_path: str | Path | None, root: Path) -> Path:
    path = expanded(source)
    if (path.is_file() and path.suffix != ".yaml") or is_sharded(path):
        return path
    run = find_run(
        source, root, accepts=lambda folder: checkpoints_of(folder).last is not None, kind="run with a checkpoint"
    )
    return find_in_run(run, None if ckpt_path is None else str(ckpt_path))


def load_weights(module: LightningModule, checkpoint: Mapping[str, Any], path: Path, strict: bool | None) -> None:
    """Load the weights of a checkpoint into a module, as Lightning does."""
    # In Lightning's order: a layer that `configure_model` makes is there before its weights, and hooks may change the
    # checkpoint before they are loaded.
    if is_overridden("configure_model", module):
        module.configure_model()
    if isinstance(module, BaseModule):
        materialize(module, torch.device("cpu"))
    module.on_load_checkpoint(dict(checkpoint))
    try:
        module.load_state_dict(checkpoint["state_dict"], strict=module.strict_loading if strict is None else strict)
    except RuntimeError as error:
        raise CheckpointError(f"{path} does not fit the module that its config makes now: {error}") from error
