"""The number of processes on each node that a config asks its trainer for."""

from __future__ import annotations

from lighter.config.annotations import UNKNOWN
from lighter.engine.check.constructors import is_known
from lighter.engine.check.context import Context
from lighter.engine.parallel import PARALLEL


def devices_per_node(context: Context) -> int | object | None:
    """Return the number; None where the machine says it, and UNKNOWN where an expression does."""
    devices = context.plain("trainer", "devices")
    if devices is not None:
        return count(devices) if is_known(devices) else UNKNOWN
    data, tensor = context.plain(PARALLEL, "data"), context.plain(PARALLEL, "tensor", 1)
    nodes = context.plain("trainer", "num_nodes", 1)
    if not (is_known(data) and is_known(tensor) and is_known(nodes)):
        return UNKNOWN
    # as `add_strategy` of `engine/parallel.py` asks for them
    if type(data) is int and type(tensor) is int and type(nodes) is int and nodes > 0:
        return max(1, data * tensor // nodes)
    return None


def count(devices: object) -> int | None:
    """Return how many devices a value of `trainer::devices` names; None if that depends on the machine."""
    if isinstance(devices, list):
        return len(devices)
    if isinstance(devices, str) and "," in devices:
        return len([each for each in devices.split(",") if each.strip()])
    if isinstance(devices, str) and devices.isdigit():
        devices = int(devices)
    return devices if type(devices) is int and devices > 0 else None
