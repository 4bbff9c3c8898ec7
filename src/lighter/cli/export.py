"""`lighter export`: write the weights of a run for programs that know nothing of Lighter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lighter.cli.completion import of_runs
from lighter.cli.json_output import give
from lighter.cli.messages import mistakes_shown
from lighter.cli.options import as_json, disk_path, in_folder, together, with_traceback

if TYPE_CHECKING:
    from lighter.exporting.folder import Written
    from lighter.files.run_folder import RunFolder

_RUN = "RUN is a path, an id, the beginning of one, or `last`: the newest run with checkpoints."


@click.group()
def export() -> None:
    """Write what a run made for programs that know nothing of Lighter: its weights, or its network.

    \b
      lighter export weights last
      lighter export weights last --module network --output digits.safetensors
      lighter export pt2 last
      lighter export onnx last --output digits
    """


_of_run = together(
    click.argument("run", shell_complete=of_runs),
    click.option(
        "--checkpoint",
        metavar="best|last|PATH",
        help="Which one; PATH may be a name in the run's checkpoints. Default: the best if any, else the last.",
    ),
)


@export.command(epilog=_RUN)
@_of_run
@click.option(
    "--module", metavar="NAME", help="Only the weights of this part, by its own names: `network`, for plain torch."
)
@click.option("--output", type=disk_path, metavar="FILE", help="The file to write. Default: beside the checkpoint.")
@click.option("--force", is_flag=True, help="Write over a file that is there.")
@in_folder
@as_json
def weights(run: str, root: Path, output: Path | None, as_json: bool, **options: Any) -> None:
    """Write the weights of a checkpoint as a safetensors file."""
    from lighter.exporting.weights import export_weights

    with mistakes_shown():
        folder = _folder_of(run, root)
        file = export_weights(folder, options["checkpoint"], output, options["module"], force=options["force"])
    if as_json:
        give("export.weights/1", {"id": folder.id, **asdict(file)})
        return
    print(f"{file.path}  {file.tensors} tensors, {file.size / 1e6:.1f} MB, from {file.checkpoint}")
    if file.tied:
        shown = ", ".join(f"{name} is {kept}" for name, kept in file.tied.items())
        print(f"tied weights are in it once; safetensors.torch.load_model gives both their values: {shown}")
    if file.left_out:
        print(f"left out, being no tensors: {', '.join(file.left_out)}")


_verified = together(
    _of_run,
    click.option(
        "--output", type=disk_path, metavar="FOLDER", help="The folder to make. Default: export/ in the run's."
    ),
    click.option("--force", is_flag=True, help="Replace an export that is there."),
    click.option("--module", metavar="NAME", help="The part to export. Default: the network that the steps call."),
    click.option("--with_preprocessing", is_flag=True, help="Also the `input_transforms` of a System's adapters."),
    click.option("--with_postprocessing", is_flag=True, help="Also the `pred_transforms` of a System's adapters."),
    click.option(
        "--stage",
        type=click.Choice(["validate", "test"]),
        help="The evaluation to verify by. Default: validate if the run has it, else test.",
    ),
    click.option(
        "--samples", type=click.IntRange(1), metavar="N", help="Verify on about N samples of the data. Default: all."
    ),
    click.option(
        "--tolerance",
        type=click.FloatRange(0, min_open=True),
        default=1e-4,
        show_default=True,
        help="How far metrics may be apart: absolute up to 1, relative above.",
    ),
    with_traceback,
    as_json,
    in_folder,
)


@export.command(epilog=_RUN)
@_verified
def pt2(**options: Any) -> None:
    """Export the network by torch.export, to run without its code.

    Written only if it computes what the network does, on the run's own data.
    """
    _export_network("pt2", **options)


@export.command(epilog=_RUN)
@_verified
def onnx(**options: Any) -> None:
    """Export the network as ONNX. It needs onnx, onnxscript and onnxruntime: pip install 'lighter[onnx]'.

    Written only if onnxruntime computes what the network does, on the run's own data.
    """
    _export_network("onnx", **options)


def _export_network(kind: str, run: str, output: Path | None, force: bool, root: Path, **options: Any) -> None:
    from lighter.cli.failures import show_failure
    from lighter.errors import LighterError
    from lighter.exporting.export import export_network
    from lighter.exporting.prepare import Options

    traceback, as_json = options.pop("traceback"), options.pop("as_json")
    before, after = options.pop("with_preprocessing"), options.pop("with_postprocessing")
    chosen = Options(preprocessing=before, postprocessing=after, **options)
    with mistakes_shown():
        try:
            written = export_network(_folder_of(run, root), kind, chosen, output, force=force)
        except LighterError:
            raise
        except Exception as error:  # noqa: BLE001  the run's own code failed
            raise SystemExit(show_failure(error, whole=traceback)) from None
    if as_json:
        give(f"export.{kind}/1", {"path": str(written.path), **written.facts})
        return
    print(_summary(written))


def _summary(written: Written) -> str:
    facts = written.facts
    verification, lines = facts["verification"], [f"{'export':<10}  {written.path}  ({', '.join(facts['files'])})"]
    for kind in ("inputs", "outputs"):
        shown = [f"{each['name']} {each['dtype']} ({', '.join(map(str, each['shape']))})" for each in facts[kind]]
        lines.append(f"{kind:<10}  {', '.join(shown)}")
    outputs = max(verification["outputs"].values(), default=0.0)
    lines.append(f"verified    {verification['calls']} calls, outputs within {outputs:.1e} of the network's")
    for name, each in verification["metrics"].items():
        lines.append(f"{'':<10}  {name} {each['artifact']:.6g} ({each['difference']:.1e} from the network's)")
    if verification["metrics"] and not any("recorded" in each for each in verification["metrics"].values()):
        lines.append(f"{'':<10}  not compared with the record: {_why_not_compared(verification)}")
    return "\n".join(lines)


def _why_not_compared(verification: Mapping[str, Any]) -> str:
    if verification["data"] != "all":
        return f"these are of {verification['data']}"
    return "it has none of these at the checkpoint's step"


def _folder_of(run: str, root: Path) -> RunFolder:
    from lighter.runs.select import find_run

    def has_checkpoints(folder: RunFolder) -> bool:
        return any(folder.checkpoints.glob("*.ckpt"))

    return find_run(run, root, accepts=has_checkpoints, kind="run with checkpoints")
