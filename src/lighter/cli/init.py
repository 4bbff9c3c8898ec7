"""`lighter init`: a new folder with a config, its code, a test and a README, from one of the examples."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import click

from lighter.cli.json_output import give
from lighter.cli.options import as_json
from lighter.cli.outputs import written

TEMPLATES = {
    "digits": ("digits", "a LighterModule: you write the steps"),
    "system": ("digits_system", "a System: no Python"),
    "lightning": ("digits_lightning", "a plain LightningModule and LightningDataModule"),
    "tabular": ("tabular", "regression on a table, with a System"),
    "segmentation": ("segmentation", "a UNet of MONAI, with a System"),
    "finetune": ("finetune", "pretraining and finetuning, with a ForwardModule"),
}
_TEXTS = (".py", ".yaml")
_MODULES = {"examples": ("sklearn", "PIL"), "segmentation": ("monai", "skimage", "PIL")}

_README = """\
# {name}

Made by `lighter init {folder} --from {template}`: {about}.

```bash
{install}
{commands}
```

Run these in this folder. Change a value on the command line, as in `lighter fit config.yaml trainer::max_epochs=3`, or
in `config.yaml`. `lighter check config.yaml` finds mistakes before anything runs. Each run has a folder in `outputs/`;
`lighter runs list` shows them. `pytest` (`pip install pytest`) runs `tests/`: one batch of each stage.
"""
_TEST = '''\
"""Each config passes the check and runs for one batch, on the real data. Run by `pytest`."""

from pathlib import Path

import lighter

FOLDER = Path(__file__).resolve().parents[1]


def run(stage, config, folder, *overrides):
    lighter.Runner().run(stage, [str(FOLDER / config), f"run::dir={{folder}}", *overrides])


def test_a_batch_of_each_stage(tmp_path):
{first}    for stage in ("fit", "test"):
        run(stage, "config.yaml", tmp_path, "trainer::fast_dev_run=true")
'''
_FIRST = """\
    # which `config.yaml` takes its weights from
    run("fit", "{config}", tmp_path, "trainer::max_epochs=1", "trainer::limit_train_batches=1")
"""


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--from", "template", type=click.Choice(list(TEMPLATES)), default="digits", show_default=True)
@as_json
def init(folder: Path, template: str, as_json: bool) -> None:
    """Make FOLDER with a config that fits at once, its code, a test and a README."""
    example, about = TEMPLATES[template]
    files = _of_example(example)
    config = files["config.yaml"]
    name = folder.resolve().name
    install, commands = _install(config), _commands(config)
    files |= {
        "README.md": _README.format(
            name=name,
            folder=shlex.quote(name),
            template=template,
            about=about,
            install=install,
            commands="\n".join(commands),
        ),
        "tests/test_config.py": _TEST.format(first=_first(config)),
        ".gitignore": "outputs/\n__pycache__/\n",
    }
    _write(folder, files)
    next_steps = [f"cd {shlex.quote(str(folder))}", *([] if _is_installed(config) else [install]), *commands]
    if as_json:
        give("init/1", {"path": folder, "template": template, "files": sorted(files), "commands": next_steps})
    else:
        print(f"{folder}: {', '.join(sorted(files))}\n")
        print("\n".join(next_steps))


init.help = f"{init.help}\n\n\b\n" + "".join(f"  {name:<14}{about}\n" for name, (_, about) in TEMPLATES.items())


def _examples() -> Path:
    """Return the folder of the examples: of an installed package, or of the checkout."""
    package = Path(__file__).parents[1]
    installed = package / "examples"
    return installed if installed.is_dir() else package.parents[1] / "examples"


def _of_example(name: str) -> dict[str, str]:
    """Return its files, with the paths and the package as their new owner writes them."""
    paths = [path for path in (_examples() / name).iterdir() if path.suffix in _TEXTS]
    texts = {path.name: path.read_text(encoding="utf-8").replace(f"examples/{name}/", "") for path in paths}
    return {file: re.sub(r"-e \"\.\[(\w+)\]\"", r"'lighter[\1]'", text) for file, text in texts.items()}


def _commands(config: str) -> list[str]:
    return re.findall(r"^# (?:First|Run|Then): +(lighter .+)$", config, re.MULTILINE)


def _extra(config: str) -> str:
    extras: list[str] = re.findall(r"lighter\[(\w+)\]", config)
    return extras[0]


def _install(config: str) -> str:
    return f"pip install 'lighter[{_extra(config)}]'"


def _is_installed(config: str) -> bool:
    return all(find_spec(module) for module in _MODULES[_extra(config)])


def _first(config: str) -> str:
    """Return the lines of the test that run what the config says has to be run first."""
    first = re.search(r"^# First: +lighter fit (\S+)$", config, re.MULTILINE)
    return _FIRST.format(config=first[1]) if first else ""


def _write(folder: Path, files: dict[str, str]) -> None:
    is_new = not os.path.lexists(folder)
    if not is_new and not (folder.is_dir() and not any(folder.iterdir())):
        raise click.UsageError(f"{folder} exists already, and is left as it is. Name another folder")
    try:
        for name, text in files.items():
            path = folder / name
            with written(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
    except click.UsageError:
        # a part would be in the way of the next try; the folder was empty, or not there
        for path in [folder] if is_new else folder.iterdir():
            with suppress(OSError):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        raise
