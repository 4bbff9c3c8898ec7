"""Load initial weights from checkpoints, and report which keys were loaded, and which are missing or do not fit.

Checkpoints of Lighter and of Lightning (`state_dict` inside), folders of shards too, plain state dicts and safetensors
files. They are opened with `weights_only=True`: a checkpoint that holds more than weights and plain data is refused.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from glob import glob, has_magic
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

from lighter.config.problems import nearest
from lighter.errors import CheckpointError, ModuleTypeError, ModuleValueError
from lighter.files.folders import is_sharded
from lighter.files.integrity import verify
from lighter.files.storage import expanded, is_remote, normal, on_disk
from lighter.parts.allocation import unfilled_memory
from lighter.parts.describe import describe
from lighter.parts.optimization.parameter_groups import as_written, match_all

_FORMS = """It is a path, or a list of
  ckpt_path:
    - pretrained.ckpt
    - {path: encoder.safetensors, drop_prefix: module., add_prefix: encoder., rename: {blocks.: layers.}}
    - {path: "outputs/*/*-pretrain/checkpoints/best.ckpt", skip: [head]}   # the newest, without what is to be new"""
_KEYS = ("path", "drop_prefix", "add_prefix", "rename", "skip")
_SHOWN = 5


@dataclass(frozen=True)
class Source:
    """One checkpoint, and how its keys become those of the module."""

    path: Path
    drop_prefix: str = ""
    add_prefix: str = ""
    rename: Mapping[str, str] = field(default_factory=dict)
    skip: Sequence[str] = ()

    def key(self, key: str, drop: str = "", add: str = "") -> str:
        """Return a key as the module calls it; `drop` and `add` are detected prefixes."""
        key = key.removeprefix(drop).removeprefix(self.drop_prefix)
        for old, new in self.rename.items():
            if key.startswith(old):
                key = new + key.removeprefix(old)
                break
        return add + self.add_prefix + key

    def check(self, keys: Sequence[str]) -> None:
        # a spelling mistake would leave weights as they are, without a word
        dropped = [key.removeprefix(self.drop_prefix) for key in keys]
        prefixes = [("drop_prefix", self.drop_prefix, keys), *(("rename", old, dropped) for old in self.rename)]
        for option, start, among in prefixes:
            if not any(key.startswith(start) for key in among):
                beginnings = {key[: index + 1] for key in among for index, letter in enumerate(key) if letter == "."}
                shortest = sorted(beginnings, key=lambda beginning: (beginning.count("."), beginning))
                hint = nearest(start, shortest)
                raise CheckpointError(f"`{option}` has `{start}`, and no key in {self.path} begins so. {hint}")


@dataclass(frozen=True)
class Report:
    """The keys of a checkpoint and of a module, sorted by how they fit."""

    path: Path
    how: str
    loaded: list[str]
    missing: list[str]
    unexpected: list[str]
    reshaped: list[str]
    skipped: list[str]

    @classmethod
    def of_keys(
        cls, path: Path, how: str, given: Mapping[str, Tensor], state: Mapping[str, Tensor], skipped: list[str]
    ) -> Report:
        """Compare the weights that were given with a module's."""
        # a lazy weight takes any shape
        fits = {
            key: is_lazy(state[key]) or state[key].shape == tensor.shape
            for key, tensor in given.items()
            if key in state
        }
        loaded = [key for key in fits if fits[key]]
        reshaped = [f"{key} {tuple(given[key].shape)} for {tuple(state[key].shape)}" for key in fits if not fits[key]]
        missing = [key for key in state if key not in given]
        return cls(path, how, loaded, missing, [key for key in given if key not in state], reshaped, skipped)

    @property
    def share(self) -> float:
        return len(self.loaded) / max(1, len(self.loaded) + len(self.missing) + len(self.reshaped))

    def __str__(self) -> str:
        lines = [f"initial weights from {self.path}{self.how}:"]
        for name in ("loaded", "missing", "unexpected", "reshaped", "skipped"):
            keys: list[str] = getattr(self, name)
            if keys or name != "skipped":
                shown = "" if name == "loaded" else ", ".join(keys[:_SHOWN]) + (", ..." if len(keys) > _SHOWN else "")
                lines.append(f"  {name:<11}{len(keys):>5}  {shown}".rstrip())
        return "\n".join(lines)


def check_match(match: object) -> None:
    if isinstance(match, bool) or not isinstance(match, (int, float)) or not 0 <= match <= 1:
        raise ModuleTypeError(f"`ckpt_match` is a share from 0 to 1; found {describe(match)}", "ckpt_match")


class InitialWeights:
    """One or more checkpoints, loaded in order; their forms are in `_FORMS`.

    A path with a `*` is the newest file that it matches. Without `drop_prefix`, `add_prefix` and `rename` the prefix
    that fits most keys is dropped; a prefix that the keys lack is added in any case. Modules and parameters that `skip`
    names keep their own weights. `match` is the share of the module's keys that each checkpoint must have; one key must
    fit.
    """

    def __init__(self, given: object, match: float = 0.0) -> None:
        listed = given if isinstance(given, (list, tuple)) else [given]
        if not listed:
            raise ModuleTypeError(f"`ckpt_path` is an empty list. {_FORMS}", "ckpt_path")
        self.sources = [_source(item) for item in listed]
        check_match(match)
        self.match = match

    def load(self, state: Mapping[str, Tensor], prefixes: Sequence[str] = ()) -> list[Report]:
        """Copy the checkpoints' weights into a module's tensors, as `state_dict()` gives them by name.

        Raises:
            CheckpointError: a file cannot be read, or too few of its keys fit.
            MisfitError: `skip` names an unknown weight.
        """
        return [self._load_one(source, state, prefixes) for source in self.sources]

    def _load_one(self, source: Source, state: Mapping[str, Tensor], prefixes: Sequence[str]) -> Report:
        weights = _read(source.path)
        source.check(list(weights))
        # `torch.compile` and FSDP put names of their own into keys, of the module or in the file
        state = {as_written(key): tensor for key, tensor in state.items()}
        drop, add = _best_change(source, weights, state, prefixes)
        ids = match_all(source.skip, list(state.items()), prefixes, "ckpt_path::skip", "weight")
        skipped = [key for key, tensor in state.items() if id(tensor) in ids]
        given = _changed(source, weights, state, drop, add)
        state, given = ({key: each[key] for key in each if key not in skipped} for each in (state, given))
        changes = [f"without `{drop}`"] * bool(drop) + [f"with `{add}`"] * bool(add)
        how = f" ({' and '.join(changes)} in front of the keys)" if changes else ""
        report = Report.of_keys(source.path, how, given, state, skipped)
        if not report.loaded or report.share < self.match:
            wanted = f"`ckpt_match` asks for {self.match:.0%}" if report.loaded else "no key fits"
            raise CheckpointError(f"{report.share:.0%} of the weights are in the checkpoint, and {wanted}.\n{report}")
        with torch.no_grad():
            for key in report.loaded:
                target: Any = state[key]
                if is_lazy(target):
                    target.materialize(given[key].shape)
                target.copy_(given[key])
        return report


def _source(given: object) -> Source:
    if isinstance(given, (str, Path)):
        source = Source(Path(given))
    elif (
        isinstance(given, Mapping)
        and set(given) <= set(_KEYS)
        and isinstance(given.get("path"), (str, Path))
        and all(isinstance(given.get(key, ""), str) for key in _KEYS[1:3])
        and isinstance(given.get("rename", {}), Mapping)
        and all(isinstance(word, str) for pair in given.get("rename", {}).items() for word in pair)
        and all(isinstance(name, str) for name in _listed(given.get("skip", ())))
    ):
        source = Source(**{**given, "path": Path(given["path"]), "skip": _listed(given.get("skip", ()))})
    else:
        raise ModuleTypeError(f"`ckpt_path` is {describe(given)}. {_FORMS}", "ckpt_path")
    return replace(source, path=_file(source.path))


def _listed(given: object) -> list[Any]:
    return list(given) if isinstance(given, (list, tuple)) else [given]


def _is_readable(path: Path) -> bool:
    return path.is_file() or is_sharded(path)


def _file(path: Path) -> Path:
    if is_remote(path):
        raise ModuleValueError(f"`ckpt_path` is a file on a disk, not {normal(path)}: download it", "ckpt_path")
    path = expanded(on_disk(path) or path)
    if _is_readable(path):
        return path
    matches = [Path(match) for match in glob(str(path), recursive=True)] if has_magic(str(path)) else []
    files = [match for match in matches if _is_readable(match)]
    if not files:
        missing = f"{path} is a folder, and no sharded checkpoint" if path.is_dir() else f"there is no file {path}"
        raise ModuleValueError(f"`ckpt_path`: {missing}", "ckpt_path")
    # by time and not by name, as the names of runs need not sort by date
    return max(files, key=lambda file: file.stat().st_mtime)


@unfilled_memory()
def _read(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return {as_written(key): tensor for key, tensor in _read_safetensors(path).items()}
        # a checkpoint of ours has checksums, and a damaged one would train from wrong weights
        verify(path)
        content = _read_folder(path) if path.is_dir() else torch.load(path, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except ImportError as error:
        raise CheckpointError(f"{path} needs the package safetensors: pip install safetensors") from error
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} holds more than weights and plain data, and loading that can run code"
        ) from error
    except Exception as error:
        raise CheckpointError(f"{path} cannot be read as a checkpoint: {str(error).splitlines()[0]}") from error
    weights = content.get("state_dict", content) if isinstance(content, Mapping) else content
    if isinstance(weights, Mapping):
        tensors = {as_written(str(key)): value for key, value in weights.items() if isinstance(value, Tensor)}
        if tensors:
            return tensors
    raise CheckpointError(
        f"{path} has no weights: it holds {describe(content)}; a state dict, or one under `state_dict`"
    )


def _read_folder(path: Path) -> dict[str, Any]:
    from torch.distributed.checkpoint.api import CheckpointException

    from lighter._lightning.sharded import load_whole

    try:
        return load_whole(path, ["state_dict"], weights_only=True)
    except CheckpointException as failed:  # no `Exception`; of one process
        raise min(failed.failures.items())[1][0] from None


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import safe_open  # optional

    # tied weights are in the file once, and the metadata has their other names
    with safe_open(path, framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  it is no dict
        tied = {key: kept for key, kept in (file.metadata() or {}).items() if kept in tensors}
    return {**{key: tensors[kept] for key, kept in tied.items()}, **tensors}


def _best_change(
    source: Source, weights: Mapping[str, Tensor], state: Mapping[str, Tensor], prefixes: Sequence[str]
) -> tuple[str, str]:
    drops = [""]
    # where the user says how keys change, nothing is guessed
    if not (source.drop_prefix or source.add_prefix or source.rename):
        drops += [*prefixes, "module.", *(f"module.{prefix}" for prefix in prefixes)]  # `module.` is DDP's
    changes = [(drop, add) for drop in drops for add in ("", *prefixes)]
    # the first of equally good ones: no change if it is as good
    return max(changes, key=lambda change: len({source.key(key, *change) for key in weights} & state.keys()))


def _changed(
    source: Source, weights: Mapping[str, Tensor], state: Mapping[str, Tensor], drop: str, add: str
) -> dict[str, Tensor]:
    # the later of two weights with one name would win without a word
    origins: dict[str, str] = {}
    for key in weights:
        renamed = source.key(key, drop, add)
        other = origins.setdefault(renamed, key)
        if other != key and renamed in state:
            raise CheckpointError(f"{source.path}: `{other}` and `{key}` would both become `{renamed}`")
    return {new: weights[key] for new, key in origins.items()}
