"""One training step of a config, to see that it runs and which shapes it has. Nothing is left on the disk.

The network is made on the meta device, where tensors have shapes and no values, if everything that the step does works
there: then the largest network takes no memory and no time. Otherwise it is made on the CPU, and the step is real.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytorch_lightning
import torch
from pytorch_lightning import LightningModule
from torch import Tensor
from torch.utils._pytree import tree_map_only
from torchmetrics import Metric, MetricCollection

from lighter.config import Config
from lighter.config.objects import Objects
from lighter.engine.build import Parts, build_data, build_module, build_trainer, check_parts, prepare_split
from lighter.engine.failures import where_it_failed
from lighter.engine.measured_step import ONE_STEP, LayerCall, StepRecorder
from lighter.engine.plan import StagePlan, plan_of
from lighter.engine.trial import QUIET, without_advice
from lighter.errors import ConfigError
from lighter.files.run_folder import RunFolder
from lighter.parts.describe import describe

_NETWORK = {"model": "network", "system": "model"}


@dataclass(frozen=True)
class Probe:
    """The facts about one training step, on `meta` or `cpu`, and the reason why it was not the meta device.

    `batch` is described; `layers` are their calls in the order in which they returned. `parameters` counts the numbers
    that train, and `untouched` names the parameters that got no gradient.
    """

    device: str
    reason: str
    batch: str
    layers: list[LayerCall]
    parameters: int
    untouched: list[str]

    @classmethod
    def of(cls, device: str, reason: str, batch: str, recorder: StepRecorder, module: LightningModule) -> Probe:
        trains = [(name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad]
        count = sum(parameter.numel() for _, parameter in trains)
        untouched = [name for name, parameter in trains if parameter.grad is None]
        return cls(device, reason, batch, recorder.calls, count, untouched)


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
    objects = config.objects()
    plan = plan_of(objects, "fit")
    prepare_split(objects, plan)
    # The data is real, and so its shapes are; only the network is made without memory.
    batch = first_batch(objects, plan)
    module = module_on_meta(objects, plan)
    _parts_of(module, objects, plan, folder)
    module = module.to("meta")
    # Only to see that the optimizers can be built.
    module.configure_optimizers()
    recorder = StepRecorder(lambda *_: None)
    with recorder.watching(module):
        output: Any = module.training_step(tree_map_only(Tensor, lambda tensor: tensor.to("meta"), batch), 0)
        loss = output["loss"] if isinstance(output, dict) else output
        loss.backward()
    return Probe.of("meta", "", describe(batch), recorder, module)


def _on_cpu(config: Config, folder: RunFolder, reason: str) -> Probe:
    objects = config.objects()
    plan = plan_of(objects, "fit")
    prepare_split(objects, plan)
    parts = _parts_of(build_module(objects, plan), objects, plan, folder)
    batches: list[str] = []
    recorder = StepRecorder(lambda _, batch: batches.append(describe(batch)))
    settings = {**QUIET, **ONE_STEP, "default_root_dir": str(folder.path), "callbacks": [recorder]}
    trainer = pytorch_lightning.Trainer(accelerator="cpu", **settings)
    with where_it_failed(objects):
        trainer.fit(parts.module, datamodule=parts.data)
    return Probe.of("cpu", reason, batches[0] if batches else "", recorder, parts.module)


def module_on_meta(objects: Objects, plan: StagePlan) -> LightningModule:
    """Build the module, its network on the meta device, and its metrics without effect, as they look at values.

    Where the module makes its network itself, all of the module is on the meta device.
    """
    network = f"{plan.section}::{_NETWORK[plan.section]}"
    has_network = objects.has(network)
    if has_network:
        with torch.device("meta"):
            objects.get(network)
    with torch.device("cpu" if has_network else "meta"):
        module = build_module(objects, plan)
    for metric in module.modules():
        if isinstance(metric, (Metric, MetricCollection)):
            metric.forward = metric.update = lambda *args, **kwargs: None  # type: ignore[method-assign]
    return module


def _parts_of(module: LightningModule, objects: Objects, plan: StagePlan, folder: RunFolder) -> Parts:
    # The config's own trainer only shows that it can be made.
    parts = Parts(module, build_data(objects, plan), build_trainer(objects, folder))
    check_parts(objects, plan, parts)
    return parts


def first_batch(objects: Objects, plan: StagePlan) -> Any:
    """Return the first batch of the training data."""
    if plan.section == "system":
        loader = objects.get("system::dataloaders::train")
    else:
        data = build_data(objects, plan)
        if data is None:
            raise ConfigError([objects.problem("the module has its own data", plan.section)])
        data.prepare_data()
        data.setup("fit")
        loader = data.train_dataloader()
    return next(iter(loader))
