"""Places in a network: the module and the line of source that an error, a guard or a node of a graph comes from."""

from __future__ import annotations

import inspect
import linecache
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import torch
from torch import nn

_TORCH = str(Path(torch.__file__).parent)
_LAYERS = str(Path(_TORCH, "nn", "modules"))
_LOGGING = str(Path(logging.__file__).parent)
_OURS = str(Path(__file__).parents[1])
_IN_TRACE = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+), in')
_SHAPES = "torch.fx.experimental.symbolic_shapes"
_FROZEN = re.compile(r"Eq\(s\d+, \d+\)")


@dataclass(frozen=True)
class Place:
    """A module by its name, with its class, and a line of source; parts that are unknown are empty."""

    module: str
    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        if not self.file:
            return self.module
        source = linecache.getline(self.file, self.line).strip()
        shown = f"{_short(self.file)}:{self.line}"
        return f"{self.module}, {shown}: {source}" if source else f"{self.module}, {shown}"


class Names:
    """The names of a network's modules, as the run's module has them; `prefix` is what the network is wrapped in."""

    def __init__(self, network: nn.Module, name: str, prefix: str = "") -> None:
        paths = {path: f"{path}.".removeprefix(prefix)[:-1] for path, _ in network.named_modules()}
        self.by_path = {path: ".".join(filter(None, (name, inner))) for path, inner in paths.items()}
        self.modules = dict(network.named_modules())
        self._by_id = {id(module): path for path, module in self.modules.items()}

    def shown(self, path: str) -> str:
        """Show a module by its path in the network."""
        module = self.modules.get(path)
        kind = type(module).__name__ if module is not None else ""
        name = self.by_path.get(path, path)
        return f"`{name}` ({kind})" if name and kind else f"`{name or kind}`"

    def of_forward(self, path: str) -> Place:
        """Return where a module's `forward` is defined."""
        try:
            forward = type(self.modules[path]).forward
            return Place(self.shown(path), inspect.getsourcefile(forward) or "", inspect.getsourcelines(forward)[1])
        except (OSError, TypeError, KeyError):
            return Place(self.shown(path))

    def of_frames(self, frames: Sequence[tuple[FrameType, int]]) -> Place | None:
        """Return the innermost line of a network's code, the outermost frame being the first."""
        inside = [self._by_id.get(id(frame.f_locals.get("self"))) for frame, _ in frames]
        first = next((index for index, path in enumerate(inside) if path is not None), None)
        if first is None:
            return None
        path = next(path for path in reversed(inside) if path is not None)
        for index in range(len(frames) - 1, first - 1, -1):
            frame, line = frames[index]
            file = frame.f_code.co_filename
            if not _is_machinery(file) or (inside[index] is not None and file.startswith(_LAYERS) and _is_layer(frame)):
                return Place(self.shown(path), file, line)
        return self.of_forward(path)

    def of_error(self, error: BaseException) -> Place | None:
        return self.of_frames([(trace.tb_frame, trace.tb_lineno) for trace in _traces(error.__traceback__)])

    def of_node(self, meta: Mapping[str, Any]) -> Place:
        """Return the place that a node of an exported graph comes from."""
        stack = [path for path, _ in meta.get("nn_module_stack", {}).values()]
        path = next((path for path in reversed(stack) if path in self.modules), "")
        lines = _IN_TRACE.findall(meta.get("stack_trace") or "")
        own = [each for each in lines if not each[0].startswith(_TORCH)] or lines
        # a layer of torch's own is used by the line that calls it, or by none where a Sequential does
        return Place(self.shown(path), own[-1][0], int(own[-1][1])) if own else self.of_forward(path)


class Guards(logging.Handler):
    """The places at which `torch.export` assumed something of a dynamic dimension."""

    def __init__(self, names: Names) -> None:
        super().__init__(logging.DEBUG)
        self.names = names
        self.found: list[tuple[str, Place]] = []

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if "[guard added]" not in message:
            return
        frame, frames = inspect.currentframe(), []
        while frame is not None:
            frames.append((frame, frame.f_lineno))
            frame = frame.f_back
        place = self.names.of_frames(frames[::-1])
        if place is not None:
            self.found.append((message, place))

    @property
    def frozen(self) -> Place | None:
        """The place that fixed a dimension, or else the last that bounded one."""
        fixed = [place for message, place in self.found if _FROZEN.search(message)]
        places = fixed or [place for _, place in self.found]
        return places[-1] if places else None


@contextmanager
def guards_of(names: Names) -> Iterator[Guards]:
    """Listen to what `torch.export` says of dynamic dimensions. It says it on a log, and nowhere else in public."""
    log, guards = logging.getLogger(_SHAPES), Guards(names)
    before = log.level, log.propagate, log.handlers, logging.root.manager.disable
    log.propagate, log.handlers = False, [guards]
    log.setLevel(logging.INFO)
    logging.disable(logging.NOTSET)
    try:
        yield guards
    finally:
        log.propagate, log.handlers = before[1:3]
        log.setLevel(before[0])
        logging.disable(before[3])


def _traces(trace: TracebackType | None) -> Iterator[TracebackType]:
    while trace is not None:
        yield trace
        trace = trace.tb_next


def _is_machinery(file: str) -> bool:
    return file.startswith((_TORCH, _OURS, _LOGGING, "<"))


def _is_layer(frame: FrameType) -> bool:
    return frame.f_code.co_name not in ("_call_impl", "_wrapped_call_impl", "__call__")


def _short(file: str) -> str:
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else file
