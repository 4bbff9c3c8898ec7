"""`lighter export`: write the weights of a run for programs that know nothing of Lighter."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lighter.cli.messages import mistakes_shown
from lighter.cli.options import disk_path, in_folder

if TYPE_CHECKING:
    from lighter.files.run_folder import RunFolder

_RUN = "RUN is a path, an id, the beginning of one, or `last`: the newest run with checkpoints."


@click.group()
def export() -> None:
    """Write what a run made for programs that know nothing of Lighter.

    \b
      lighter export weights last
      lighter export weights last --module network --output digits.safetensors
    """


@export.command(epilog=_RUN)
@click.argument("run")
@click.option(
    "--checkpoint",
    metavar="best|last|PATH",
    help="Which one; PATH may be a name in the run's checkpoints. Default: the best if there is one, else the last.",
)
@click.option(
    "--module", metavar="NAME", help="Only the weights of this part, by its own names: `network`, for plain torch."
)
@click.option("--output", type=disk_path, metavar="FILE", help="The file to write. Default: beside the checkpoint.")
@click.option("--force", is_flag=True, help="Write over a file that is there.")
@in_folder
def weights(run: str, checkpoint: str | None, module: str | None, output: Path | None, force: bool, root: Path) -> None:
    """Write the weights of a checkpoint as a safetensors file."""
    from lighter.engine.export import export_weights
    from lighter.runs.select import find_run

    def has_checkpoints(folder: RunFolder) -> bool:
        return any(folder.checkpoints.glob("*.ckpt"))

    with mistakes_shown():
        folder = find_run(run, root, accepts=has_checkpoints, kind="run with checkpoints")
        file = export_weights(folder, checkpoint, output, module, force=force)
    print(f"{file.path}  {file.tensors} tensors, {file.size / 1e6:.1f} MB, from {file.checkpoint}")
    if file.tied:
        shown = ", ".join(f"{name} is {kept}" for name, kept in file.tied.items())
        print(f"tied weights are in it once; safetensors.torch.load_model gives both their values: {shown}")
    if file.left_out:
        print(f"left out, being no tensors: {', '.join(file.left_out)}")
