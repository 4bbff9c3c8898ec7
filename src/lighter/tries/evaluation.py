"""All that makes a metric and is not in the config: source files, data files, the validation data, versions.

The ledger keeps these facts as they were when it was opened. A try collects them anew, with its own config, and is
refused if one of them differs.

sources    by file, the hashes of the files of the frozen targets and of the classes that they inherit from
code       by name, the hashes of the modules that are imported from the user's own folders
files      by path, the hashes of the files and folders that the baseline's config names
batches    the hash of every validation batch, as the config's loaders give them
unknown    the types of what is in batches and cannot be hashed, which is only said
packages   the versions of the packages that decide results
"""

from __future__ import annotations

import hashlib
import inspect
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lighter.config import Config
from lighter.config.locate import locate
from lighter.config.tree import is_target
from lighter.runs import provenance
from lighter.tries.content import Content
from lighter.tries.frozen import Change, frozen_paths

Facts = dict[str, Any]
_MOST_OF_FOLDER = 4 * 2**30  # bytes of a folder that are hashed; of further files only size and time
_BLOCK = 2**20
_SAID = {
    "sources": "this file, which takes part in the evaluation, changed since the ledger was opened",
    "code": "this module changed since the ledger was opened; the baseline's fits are of the code as it was",
    "files": "this data changed since the ledger was opened",
    "batches": "the batches have other contents than when the ledger was opened",
    "packages": "another version is installed than when the ledger was opened",
}
_HINT = " (a change of the code to try goes into a new module, which an override names)"


def facts_of(config: Config, baseline: Config, metric: str) -> Facts:
    """Collect the facts for a candidate; its code must be importable, and its targets imported."""
    content = _validation_content(config)
    return {
        "sources": _sources(config, metric),
        "files": {path: _digest_of_path(Path(path)) for path in sorted(_files(baseline))},
        "batches": {"validation data": content.hexdigest()},
        "unknown": sorted(content.unknown),
        "packages": provenance.versions(provenance.DECIDING),
        # last: data modules may import only when they are used
        "code": provenance.code(),
    }


def changed_facts(before: Mapping[str, Any], now: Facts) -> list[Change]:
    """Return what differs from the facts that a ledger was opened with; modules may have come since."""
    changes = []
    for kind, said in _SAID.items():
        old, new = before.get(kind) or {}, now[kind]
        names = [name for name in old if new.get(name, None if kind != "code" else old[name]) != old[name]]
        # a candidate that evaluates with further files has other frozen targets, which its config shows
        names += [name for name in new if name not in old and kind not in ("code", "sources")]
        changes += [Change(name, said + _HINT * (kind == "code")) for name in names]
    return changes


def changed_code(recorded: Mapping[str, str], now: Mapping[str, str]) -> list[Change]:
    """Return the modules that changed between the run of a baseline and now."""
    names = [name for name, digest in recorded.items() if digest and now.get(name, digest) != digest]
    said = "this module changed since the baseline was trained: fit the baseline anew"
    return [Change(name, said) for name in names]


def _validation_content(config: Config) -> Content:
    """Return a hash of all validation batches of a config, in their order."""
    import torch
    from pytorch_lightning import seed_everything
    from torch.utils._pytree import tree_leaves

    content = Content()
    with torch.random.fork_rng(devices=[]):
        seed_everything(config.seed, workers=True, verbose=False)
        for loader in tree_leaves(_validation_loaders(config)):
            for batch in loader:
                for leaf in tree_leaves(batch):
                    content.add(leaf)
    return content


def _validation_loaders(config: Config) -> Any:
    from lighter.engine.build import build_data, build_module, prepare_split
    from lighter.engine.plan import plan_of

    objects = config.objects()
    plan = plan_of(objects, "fit")
    prepare_split(objects, plan)
    data = build_data(objects, plan)
    if data is not None:
        data.prepare_data()
        data.setup("fit")
        return data.val_dataloader()
    return build_module(objects, plan).val_dataloader()


def _sources(config: Config, metric: str) -> dict[str, str]:
    files = {file for target in _targets(config, metric) for file in _files_of(target)}
    return {str(file): _digest_of_path(file) for file in sorted(files)}


def _targets(config: Config, metric: str) -> Iterator[str]:
    for path in sorted(frozen_paths(config, metric)):
        frozen = config.expanded.find(path)
        for _, node in frozen.walk() if frozen is not None else ():
            target = node.child("_target_") if is_target(node.value) else None
            if target is not None and isinstance(target.value, str):
                yield target.value
        if path.endswith("::_target_") and frozen is not None and isinstance(frozen.value, str):
            yield frozen.value


def _files_of(target: str) -> Iterator[Path]:
    located = locate(target)
    kinds = located.__mro__ if inspect.isclass(located) else (located,)
    for kind in kinds:
        module = sys.modules.get(getattr(kind, "__module__", None) or "")
        file = getattr(module, "__file__", None)
        # of torch and Python, the version is enough
        package = kind.__module__.partition(".")[0] if file else ""
        if isinstance(file, str) and package != "torch" and package not in sys.stdlib_module_names:
            yield Path(file)


def _files(config: Config) -> set[str]:
    """Return the files and folders that the data of a config names."""
    sections = [config.expanded.child(name) for name in ("data", "system", "vars")]
    texts = [node.value for section in sections if section is not None for _, node in section.walk()]
    paths = {text for text in texts if isinstance(text, str)} - {"", ".", "..", "/"}
    # unlike those of `Path`, these take any text
    return {text for text in paths if os.path.exists(os.path.expanduser(text))}


def _digest_of_path(path: Path) -> str:
    path, digest, left = Path(os.path.expanduser(path)), hashlib.sha256(), _MOST_OF_FOLDER
    files = [path] if not path.is_dir() else sorted(each for each in path.rglob("*") if each.is_file())
    for file in files:
        status = file.stat()
        digest.update(f"\0{file.relative_to(path)}\0{status.st_size}\0".encode(errors="surrogateescape"))
        if status.st_size > left and file != path:
            digest.update(str(status.st_mtime_ns).encode())
            continue
        left -= status.st_size
        with file.open("rb") as content:
            while block := content.read(_BLOCK):
                digest.update(block)
    return digest.hexdigest()
