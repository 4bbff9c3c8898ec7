"""Tries every attack in one process whose audit hook sees what Python does, and prints what came of each as JSON.

Run as `python -m tests.config.safe.run_attacks FOLDER`, in an empty folder. An attack is a dict: its name, the error
that refused it (or null), its message, the events that no reading of a config should cause.
One that hangs ends the process, which says where it hung.
Each target and expression is worked out twice: as it is, and with the first line of defence, the reading, taken away.
"""

from __future__ import annotations

import faulthandler
import io
import json
import os
import pickle
import re
import struct
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HANGS = 120  # seconds; attacks take hundredths
FORBIDDEN = (  # with a dot at the end, all that begin so
    *("exec", "code.__new__", "function.__new__", "marshal.loads", "pickle.find_class", "ctypes.", "cpython.", "mmap."),
    *("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "os.kill", "subprocess.", "pty."),
    *(
        "os.rename",
        "os.chmod",
        "os.chown",
        "os.link",
        "os.symlink",
        "os.truncate",
        "os.putenv",
        "os.unsetenv",
        "shutil.",
    ),
    *("socket.", "urllib.", "webbrowser.", "smtplib.", "ftplib.", "sqlite3."),
    *("builtins.breakpoint", "builtins.input", "sys.addaudithook", "sys.setprofile", "sys.settrace"),
)
OURS = [  # variables that every run sets, and those of safe mode
    *((b"PL_GLOBAL_SEED",), (b"PL_SEED_WORKERS",), (b"LIGHTER_RUN_FOLDER",)),
    *((b"PYTHONPATH",), (b"PYTHONSAFEPATH",), (b"LIGHTER_SAFE_FOLDERS",)),
]
OF_THE_RECORD = re.compile(
    r"outputs/[\w./-]+/\.(run\.json|config\.yaml|origins\.yaml|losses\.csv)\.partial-[\w-]+"
    r"|/[\w./-]+/outputs/[\w./-]+/checkpoints/\.(last|best)\.ckpt\.partial-[\w-]+"
)
BASE = """
vars:
  bunch: {_target_: sklearn.datasets.load_digits}
  net: {_target_: torch.nn.Linear, in_features: 64, out_features: 10}
  list: [1, 2, 3]
  t: $torch.tensor(@vars::bunch.data, dtype=torch.float32)
  data: {_target_: torch.utils.data.TensorDataset, _args_: ["@vars::t", "$torch.tensor(@vars::bunch.target)"]}
_imports_: {torch: torch, np: numpy, os: os, lighter: lighter, loads: pickle.loads}
system:
  _target_: lighter.System
  model: "%vars::net"
  criterion: {_target_: torch.nn.CrossEntropyLoss}
  optimizer: {_target_: torch.optim.SGD, lr: 0.1}
  dataloaders: {train: {_target_: torch.utils.data.DataLoader, dataset: "@vars::data", batch_size: 8}}
trainer: {fast_dev_run: true, accelerator: cpu, logger: false, enable_model_summary: false}
"""


class Watch:
    """The audit hook: keeps what is forbidden while it is on."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.events, self.on = str(folder), [], False
        self.known = {name.partition(".")[0] for name in sys.modules}
        sys.addaudithook(self)

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if any(event.startswith(name) if name.endswith(".") else event == name for name in FORBIDDEN):
            if args[:1] not in OURS and not self.is_ours(event, args):
                self.events.append(f"{event} {args[:1]!r}"[:200])
        elif event == "import" and str(args[0]).partition(".")[0] not in self.known:
            self.events.append(f"import {args[0]}")
        elif event in ("open", "os.mkdir", "os.rmdir", "os.remove") and self.is_elsewhere(event, args):
            self.events.append(f"{event} {args!r}"[:200])

    def is_ours(self, event: str, args: tuple[Any, ...]) -> bool:
        """Whether the record of the run is given its name, or an annotation is read that its package has as text.

        A torch for GPUs looks for their driver.
        """
        if event.startswith("ctypes."):
            return args[:1] == ("libnvidia-ml.so.1",)
        if event == "os.truncate":  # the lock of the run's folder, by its descriptor
            return isinstance(args[0], int)
        if event in ("os.rename", "socket.gethostname"):
            return not args or OF_THE_RECORD.fullmatch(str(args[0])) is not None
        if event != "exec":
            return False
        frame: Any = sys._getframe(3)
        while frame is not None and frame.f_globals.get("__name__") != "lighter.config.signatures":
            frame = frame.f_back
        return frame is not None

    def is_elsewhere(self, event: str, args: tuple[Any, ...]) -> bool:
        writes = event != "open" or (isinstance(args[1], str) and set(args[1]) & set("wax+"))
        path = args[0] if isinstance(args[0], (str, bytes)) else ""
        return bool(writes) and not os.path.realpath(os.fsdecode(path)).startswith(self.folder)

    def during(self, name: str, attack: Callable[[], object]) -> dict[str, Any]:
        self.events, result = [], {"name": name, "error": None, "message": ""}
        faulthandler.dump_traceback_later(HANGS, exit=True)
        self.on = True
        try:
            attack()
        except Exception as error:  # noqa: BLE001  the test says which are right
            self.on = False
            result |= {"error": type(error).__name__, "message": str(error)[:1000]}
        self.on = False
        faulthandler.cancel_dump_traceback_later()
        return {**result, "events": self.events}


def attacks(folder: Path) -> Iterator[tuple[str, Callable[[], object]]]:
    """Every attack on a config, with its name."""
    from tests.config.safe.attacks import CONFIGS, EXPRESSIONS, TARGETS

    for target, arguments in TARGETS.items():
        given = arguments if arguments.startswith("_args_") else arguments[1:-1]
        yield f"target {target}", value_attack(f"vars: {{x: {{_target_: {json.dumps(target)}, {given}}}}}")
    for expression in EXPRESSIONS:
        text = re.sub(r"@(t|net|list|bunch)\b", r"@vars::\1", expression)
        yield f"expression {shown(expression)}", value_attack(f"vars: {{x: {json.dumps('$' + text)}}}")
    for name, (text, _) in CONFIGS.items():
        yield f"config {name}", run_attack(text)


def shown(text: str) -> str:
    return text if len(text) < 100 else f"{text[:97]}..."


def value_attack(text: str) -> Callable[[], object]:
    """Work out what a config has at `vars::x`."""

    def attack() -> object:
        from lighter.config import read
        from lighter.config.safe import SafeMode

        write_config(text)
        return read(["config/base.yaml", "config/attack.yaml"], SafeMode()).objects().get("vars::x")

    return attack


def run_attack(text: str) -> Callable[[], object]:
    """Run a config; if nothing is refused, work out what it has at `vars::x`, which the run may not have needed."""

    def attack() -> object:
        from lighter import Runner

        write_config(text)
        Runner(safe=True).run("fit", ["config/base.yaml", "config/attack.yaml"])
        return value_attack(text)()

    return attack


def write_config(text: str) -> None:
    canary = str(Path("canary").absolute())
    Path("config/attack.yaml").write_text(text.replace("CANARY", canary), encoding="utf-8")


def unread(attack: Callable[[], object]) -> Callable[[], object]:
    """The same attack, with the reading of the config taken away: what is worked out must refuse it too."""

    def late() -> object:
        import lighter.config.checked

        refuse, lighter.config.checked.refuse = lighter.config.checked.refuse, lambda *_: None
        try:
            return attack()
        finally:
            lighter.config.checked.refuse = refuse

    return late


def pickles() -> Iterator[tuple[str, bytes]]:
    """Files that name what a checkpoint must not name, in the ways in which a pickle can."""
    from tests.config.safe.attacks import PICKLED

    canary = str(Path("canary").absolute())
    for module, name, given in PICKLED:
        args = tuple(item.replace("CANARY", canary) if isinstance(item, str) else item for item in given)
        yield f"{module}.{name}, reduced", reduced(module, name, args)
    system, args = ("posix", "system"), (f"touch {canary}",)
    yield "a stack global", b"\x80\x04" + text(system[0]) + text(system[1]) + b"\x93" + values(args) + b"R."
    yield "an instance", b"(S" + repr(args[0]).encode() + b"\niposix\nsystem\n."
    yield "an object", b"(cposix\nsystem\nS" + repr(args[0]).encode() + b"\no."
    yield "a new object", b"\x80\x02cposix\nsystem\n" + values(args) + b"\x81."
    yield "an extension", b"\x80\x02\x82\x01" + values(args) + b"R."
    yield "a persistent id", b"\x80\x02" + values(args) + b"Q."
    memo = b"\x80\x04" + text("posix") + b"q\x00" + text("system") + b"q\x01" + text("torch") + b"\x94"
    yield "a confused memo", memo + b"h\x00h\x01\x93" + values(args) + b"R."
    yield "an attribute set by a state", b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}" + text("x") + b"K\x01sb."
    yield "a dict's item of what is no dict", b"\x80\x02ctorch\nFloatStorage\n)RK\x00K\x01s."
    yield "a pickle after the end of another", b"\x80\x02}." + reduced("posix", "system", args)


def reduced(module: str, name: str, args: tuple[Any, ...]) -> bytes:
    return b"\x80\x02c" + f"{module}\n{name}\n".encode() + values(args) + b"R."


def values(args: tuple[Any, ...]) -> bytes:
    return pickle.dumps(args, 2)[2:-1]


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def files(data: bytes) -> Iterator[tuple[str, bytes]]:
    """A pickle as a file of its own, as torch's, and in files that confuse scanners."""
    yield "alone.ckpt", data
    yield "legacy.ckpt", b"".join(pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {})) + data
    for name, member in (("archive.ckpt", "archive/data.pkl"), ("other.ckpt", "other/data.pkl")):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr(member, data)
            archive.writestr(f"{member.partition('/')[0]}/version", "3\n")
            if name == "other.ckpt":
                archive.writestr("other/constants.pkl", data)  # as TorchScript has
                archive.writestr("other/code/__torch__.py", "import os")
        yield name, buffer.getvalue()
    yield "crc.ckpt", buffer.getvalue().replace(struct.pack("<I", zipfile.crc32(data)), b"\0\0\0\0")


def checkpoint_attacks() -> Iterator[tuple[str, Callable[[], object]]]:
    """Every pickle in every kind of file, as the checkpoint of a run and as initial weights."""
    from lighter.parts.weights.initial_weights import InitialWeights
    from lighter.runs.find_checkpoint import verify

    for name, data in pickles():
        for file, content in files(data):

            def as_checkpoint(file: str = file, content: bytes = content) -> None:
                Path(file).write_bytes(content)
                verify(file, weights_only=True, safe=True)

            def as_weights(file: str = file, content: bytes = content) -> None:
                Path(file).write_bytes(content)
                InitialWeights(file).load({})

            yield f"checkpoint {name}, {file}", as_checkpoint
            yield f"weights {name}, {file}", as_weights


def prepare(folder: Path) -> None:
    """What attacks may look for, and a run that imports everything."""
    from lighter import Runner

    Path("config").mkdir()
    Path("config/base.yaml").write_text(BASE)
    evil = f"open({str(folder / 'canary')!r}, 'w')\ndef run(): pass\n"
    for place in ("evil.py", "config/evil.py", "__lighter__.py", "sitecustomize.py", "config/__init__.py"):
        Path(place).write_text(evil)
    Path("config/evil.yaml").write_text(f"vars: {{x: {{_target_: os.system, command: touch {folder}/canary}}}}")
    Path("config/link").symlink_to("/tmp")
    Path("link").symlink_to("/tmp")
    for place in ("evil.ckpt", "config/evil.ckpt"):
        Path(place).write_bytes(reduced("posix", "system", (f"touch {folder}/canary",)))
    Runner(safe=True).run("fit", ["config/base.yaml"])
    Runner(safe=True).run(
        "fit", ["config/base.yaml", "trainer::logger=true", "trainer::fast_dev_run=false", "trainer::max_steps=1"]
    )


def controls(folder: Path) -> Iterator[tuple[str, Callable[[], object]]]:
    """Attacks without safe mode: they succeed, or this proves nothing."""
    from lighter.config import read

    def unsafe(text: str) -> object:
        write_config(text)
        return read(["config/base.yaml", "config/attack.yaml"]).objects().get("vars::x")

    yield "target", lambda: unsafe("vars: {x: {_target_: os.system, command: touch CANARY}}")
    yield "expression", lambda: unsafe("vars: {x: \"$open('CANARY', 'w').close()\"}")
    yield "import", lambda: unsafe("vars: {x: {_target_: evil.run}}")
    yield "pickle", lambda: pickle.loads(reduced("posix", "system", (f"touch {folder}/canary",)))


def main(folder: Path) -> None:
    os.chdir(folder)
    import encodings.cp437  # noqa: F401  which `zipfile` imports for the names in an archive

    import torch

    import lighter.parts.weights.initial_weights  # noqa: F401

    torch.set_num_threads(1)
    with torch.device("meta"):  # where safe mode looks at the sizes of what is made, by modules that torch imports then
        torch.stack([torch.arange(3).clamp(min=1)])[torch.zeros(1, dtype=torch.int64)].sum()
    prepare(folder)
    watch, results, canary = Watch(folder), [], folder / "canary"
    for name, attack in attacks(folder):
        results.append(watch.during(name, attack))
        if name.startswith(("target", "expression")):
            results.append(watch.during(f"{name}, unread", unread(attack)))
    for name, attack in checkpoint_attacks():
        results.append(watch.during(name, attack))
    outcome = {"attacks": results, "canary": canary.exists(), "controls": []}
    sys.path.insert(0, str(folder))
    for name, attack in controls(folder):
        outcome["controls"].append({**watch.during(name, attack), "canary": canary.exists()})
        canary.unlink(missing_ok=True)
    print("\n" + json.dumps(outcome))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
