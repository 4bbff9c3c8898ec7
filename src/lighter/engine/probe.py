"""One training step of a config, to see that it runs and which shapes it has. Nothing is left on the disk.

The network is made on the meta device, where tensors have shapes and no values, if everything that the step does works
there: then the largest network takes no memory and no time. Otherwise it is made on the CPU, and the step is real.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytorch_lightning
import torch
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from lighter.config import Config
from lighter.config.objects import Objects
from lighter.engine.build import Parts, build_data, build_module, build_trainer, check_parts, name_functions
from lighter.engine.failures import where_it_failed
from lighter.engine.trial import without_advice
from lighter.files.run_folder import RunFolder
from lighter.parts.describe import describe

_NETWORK = {"model": "network", "system": "model"}


@dataclass(frozen=True)
class Layer:
    """A module that the step called, with the shapes that went in and came out."""

    name: str
    kind: str
    given: str
    returned: str
    parameters: int


@dataclass
class Probe:
    """What one training step did.

    Attributes:
        device: `meta` or `cpu`.
        reason: why it was not the meta device.
        batch: the batch, described.
        layers: the modules in the order in which they returned.
        parameters: how many numbers train.
        untouched: the names of trainable parameters that got no gradient.
    """

    device: str = "meta"
    reason: str = ""
    batch: str = ""
    layers: list[Layer] = field(default_factory=list)
    parameters: int = 0
    untouched: list[str] = field(default_factory=list)


def probe(config: Config) -> Probe:
    """Build everything that `fit` needs, and run one training step.

    Raises:
        ConfigError: what is built does not fit together.
        Exception: whatever the user's code raises, with a note that says where in the config it belongs.
    """
    with TemporaryDirectory() as name, without_advice():
        folder = RunFolder(Path(name))
        try:
            return _on_meta(config, folder)
        except Exception as error:  # noqa: BLE001  much does not work there; on the CPU it shows whether it works
            reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        return _on_cpu(config, folder, reason)


def _on_meta(config: Config, folder: RunFolder) -> Probe:
    objects, section = _objects(config), config.module_section
    batch = _first_batch(objects, section)
    network = f"{section}::{_NETWORK[section]}"
    has_network = objects.tree.find(network) is not None
    if has_network:
        with torch.device("meta"):
            objects.get(network)
    parts = _built(objects, section, folder, "cpu" if has_network else "meta")
    module = parts.module.to("meta")
    for metric in module.modules():  # they look at values
        if isinstance(metric, (Metric, MetricCollection)):
            metric.forward = metric.update = lambda *args, **kwargs: None  # type: ignore[method-assign]
    module.configure_optimizers()
    found = Probe(batch=describe(batch))
    with _recorded(module, found):
        output = module.training_step(_moved(batch), 0)
    loss = output["loss"] if isinstance(output, dict) else output
    loss.backward()
    _count(module, found)
    return found


def _on_cpu(config: Config, folder: RunFolder, reason: str) -> Probe:
    objects, section = _objects(config), config.module_section
    parts = _built(objects, section, folder, "cpu")
    found = Probe("cpu", reason)
    nothing: dict[str, Any] = dict.fromkeys(
        ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
    )
    trainer = pytorch_lightning.Trainer(
        accelerator="cpu",
        devices=1,
        max_steps=1,
        limit_train_batches=1,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        default_root_dir=str(folder.path),
        callbacks=[_batch_keeper(found)],
        **nothing,
    )
    with where_it_failed(objects), _recorded(parts.module, found):
        trainer.fit(parts.module, datamodule=parts.data)
    _count(parts.module, found)
    return found


def _objects(config: Config) -> Objects:
    objects = config.objects()
    name_functions(objects)
    return objects


def _built(objects: Objects, section: str, folder: RunFolder, device: str) -> Parts:
    """Module, data and the config's own trainer, which only shows that it can be made."""
    with torch.device(device):
        module = build_module(objects, section, "fit")
    parts = Parts(module, build_data(objects, "fit"), build_trainer(objects, folder))
    check_parts(objects, section, parts, "fit")
    return parts


def _first_batch(objects: Objects, section: str) -> Any:
    if section == "system":
        loader = objects.get("system::dataloaders::train")
    else:
        data = build_data(objects, "fit")
        data.prepare_data()
        data.setup("fit")
        loader = data.train_dataloader()
    return next(iter(loader))


def _moved(batch: Any) -> Any:
    from lightning_utilities.core.apply_func import apply_to_collection

    return apply_to_collection(batch, Tensor, lambda tensor: tensor.to("meta"))


def _batch_keeper(found: Probe) -> Any:
    """A callback that describes the first batch."""

    def on_train_batch_start(self: Any, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        found.batch = found.batch or describe(batch)

    return type("Keeper", (pytorch_lightning.Callback,), {"on_train_batch_start": on_train_batch_start})()


@contextmanager
def _recorded(module: nn.Module, found: Probe) -> Iterator[None]:
    """Write down each submodule's inputs and output while this lasts."""

    def record(name: str) -> Any:
        def hook(layer: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            count = sum(parameter.numel() for parameter in layer.parameters(recurse=False))
            given = ", ".join(map(_shape, args))
            found.layers.append(Layer(name, type(layer).__name__, given, _shape(output), count))

        return hook

    aside = tuple(f"{mode}_metrics" for mode in ("train", "val", "test"))
    handles = [
        layer.register_forward_hook(record(name))
        for name, layer in module.named_modules()
        if name and not name.startswith(aside) and not isinstance(layer, (Metric, MetricCollection))
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _shape(value: Any) -> str:
    """The shapes of tensors, within lists and dicts."""
    if isinstance(value, Tensor):
        return f"({', '.join(map(str, value.shape))})"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_shape(item)}' for key, item in value.items())}}}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_shape, value))}]"
    return type(value).__name__


def _count(module: nn.Module, found: Probe) -> None:
    trains = [(name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad]
    found.parameters = sum(parameter.numel() for _, parameter in trains)
    found.untouched = [name for name, parameter in trains if parameter.grad is None]
