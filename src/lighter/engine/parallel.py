"""The section `parallel` of a config: the trainer's strategy, and the modules that its patterns name."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pytorch_lightning import LightningModule

from lighter.base import PREFIXES, BaseModule
from lighter.config.problems import indefinite
from lighter.config.tree import is_target, join
from lighter.errors import ConfigError
from lighter.parallel.settings import EXAMPLE, ParallelSettings, mistakes

if TYPE_CHECKING:
    from lighter._lightning.recorded_init import Recording
    from lighter.config.objects import Objects
    from lighter.engine.plan import StagePlan

log = logging.getLogger("lighter")

PARALLEL = "parallel"
NOT_BESIDE = "`parallel` makes the strategy, and the trainer has one of its own: {}"
NOT_PLAIN = (
    "`parallel` divides the networks of lighter.System, ForwardModule and LighterModule; {} divides its own in"
    " `configure_model`, with a strategy of the trainer"
)
NOT_PREDICTED = "tensor={} processes have the same samples, and each of them would write their predictions"
NO_PRECISION = "`parallel` works with the precisions {}; found {}"


def parallel_settings(objects: Objects) -> ParallelSettings | None:
    """Return the settings of the section; None if the config has none.

    Raises:
        ConfigError: its values are wrong.
    """
    if objects.lookup(PARALLEL) is None:
        return None
    values = objects.get(PARALLEL)
    if not isinstance(values, Mapping):
        message = f"this section is a dict; found {indefinite(values)}"
        raise ConfigError([objects.problem(message, PARALLEL, f"For example: {EXAMPLE}")])
    problems = [objects.problem(message, join(PARALLEL, key), hint) for key, message, hint in mistakes(values)]
    if problems:
        raise ConfigError(problems)
    return ParallelSettings.of(values)


def add_strategy(objects: Objects, trainer: str) -> None:
    """Give the definition of the trainer, at a path, the strategy of the section and as many devices as it needs.

    Raises:
        ConfigError: the section is wrong, or the trainer has a strategy of its own.
    """
    settings = parallel_settings(objects)
    if settings is None:
        return
    from lighter.parallel.strategy import ParallelStrategy  # imports much of torch.distributed

    written: Mapping[str, Any] = objects.lookup(trainer) or {}
    strategy = written.get("strategy", "auto")
    if strategy not in ("auto", None):
        message = NOT_BESIDE.format(indefinite(strategy) if not isinstance(strategy, str) else f"`{strategy}`")
        raise ConfigError([objects.problem(message, join(trainer, "strategy"), "Leave one of them out.")])
    arguments: dict[str, Any] = {"strategy": ParallelStrategy(settings)}
    if written.get("devices") is None and settings.data is not None:
        nodes = written.get("num_nodes") or 1
        processes = settings.data * settings.tensor
        arguments["devices"] = max(1, processes // nodes) if isinstance(nodes, int) else processes
    objects.add_arguments(trainer, arguments)


def check_parallel(objects: Objects, module: LightningModule) -> None:
    """Check that each pattern of the section names a module of the network.

    Raises:
        ConfigError: one names none, or the module divides its network itself.
    """
    settings = parallel_settings(objects)
    if settings is None:
        return
    if not isinstance(module, BaseModule):
        message = NOT_PLAIN.format(type(module).__name__)
        raise ConfigError([objects.problem(message, PARALLEL, "trainer::strategy=fsdp, or leave `parallel` out.")])
    # of the class: an instance without memory has one of ours
    if type(module).configure_model is not BaseModule.configure_model:
        return  # which may make modules that are not there yet
    from lighter.parallel.names import misses, module_names

    found = misses(settings, module_names(module), PREFIXES)
    problems = [objects.problem(message, join(PARALLEL, path), hint) for path, message, hint in found]
    if problems:
        raise ConfigError(problems)


def module_without_memory(objects: Objects, plan: StagePlan) -> tuple[LightningModule | None, Recording | None]:
    """Build the module of a config with `parallel`, its network without memory; its weights are made as it is divided.

    Returns:
        the module, and the recording of its weights; None and None if that cannot be done, and another module is to be
        built, of other objects.
    """
    target = plan.module.target
    if objects.lookup(PARALLEL) is None or not (isinstance(target, type) and issubclass(target, BaseModule)):
        return None, None
    paths = [join(plan.module.path, key) for key in ("network", "model")]
    paths = [path for path in paths if is_target(objects.lookup(objects.followed(path)))]
    # each of our classes has a wrapped `setup` of its own
    ours = next(kind for kind in target.__mro__ if kind.__module__.partition(".")[0] == "lighter")
    # hooks of the user's that may change weights before they are there
    if not paths or any(getattr(target, hook) is not getattr(ours, hook) for hook in ("setup", "configure_model")):
        return None, None
    from lighter._lightning.recorded_init import Recording, refuse_loose
    from lighter.engine.build import build_module  # which imports this module

    recording = Recording()
    try:
        with recording.on(new=True):
            for path in paths:
                objects.get(path)
        with recording.on(new=False):  # which may change the weights
            module = build_module(objects, plan)
        refuse_loose(module, recording)
    except Exception as error:  # noqa: BLE001  of any code of the user's; if it is a mistake, it is raised again
        log.info("parallel: each process makes the whole network first, as it cannot be made in parts: %s", error)
        return None, None
    return module, recording
