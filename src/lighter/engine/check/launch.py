"""The section `launch`: its settings, and whether the trainer has the nodes and processes that the job asks for."""

from __future__ import annotations

from lighter.config.problems import WARNING
from lighter.config.tree import join
from lighter.engine.check.context import Context
from lighter.engine.check.devices import devices_per_node
from lighter.launch.section import SECTION, parse_launch


def check_launch(context: Context, severity: str = WARNING) -> None:
    """Add a problem for each mistake in `launch`, where it is written.

    `severity` is that of a trainer which the job does not fit: as long as it runs here, that harms nothing.
    """
    if context.tree.child(SECTION) is None:
        return
    before = len(context.problems)
    settings = parse_launch(context.tree, context.problems)
    if len(context.problems) > before:
        return
    trainer = context.followed("trainer")
    nodes, devices = context.plain(trainer, "num_nodes"), devices_per_node(context)
    if isinstance(nodes, int) and nodes != settings.nodes:
        message = f"the trainer has {nodes} nodes, and its job asks for {settings.nodes}"
        context.problem(message, join(trainer, "num_nodes"), f"launch::nodes={nodes}", severity)
    elif nodes is None and settings.nodes > 1:
        message = f"the job asks for {settings.nodes} nodes, and the trainer uses one"
        context.problem(message, join(SECTION, "nodes"), f"trainer::num_nodes={settings.nodes}", severity)
    if settings.tasks > 1 and isinstance(devices, int) and devices != settings.tasks:
        message = f"SLURM starts {settings.tasks} processes on each node, and the trainer has {devices} devices there"
        context.problem(message, join(SECTION, "tasks"), f"tasks: {devices}", severity)
