"""`lighter tune lr` and `lighter tune batch-size`: the two values to set before a long run."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from lighter.cli.groups import Group
from lighter.cli.json_output import give
from lighter.cli.options import as_json, inputs, with_traceback


@click.group(cls=Group)
def tune() -> None:
    """Look for a learning rate or a batch size. What is found is printed as an override; no file is changed."""


@tune.command()
@inputs
@click.option("--min_lr", default=1e-8, show_default=True, help="The learning rate of the first step.")
@click.option("--max_lr", default=1.0, show_default=True, help="The learning rate of the last step.")
@click.option("--num_training", type=click.IntRange(min=20), default=100, show_default=True, help="How many steps.")
@click.option("--mode", type=click.Choice(["exponential", "linear"]), default="exponential", show_default=True)
@click.option(
    "--early_stop_threshold",
    default=4.0,
    show_default=True,
    help="Stop when the loss is this many times the lowest; 0: never.",
)
@with_traceback
@as_json
def lr(inputs: tuple[str, ...], early_stop_threshold: float, **options: Any) -> None:
    """Train some steps with a rising learning rate, and find where the loss falls most steeply.

    The curve is written to a folder of its own, as lr.csv and (with matplotlib) lr.png.
    INPUT: config files, and overrides (key::path=value).
    """
    from lighter.cli.stage import exit_code

    # Lightning takes None for never.
    options["early_stop_threshold"] = early_stop_threshold or None
    traceback, as_json = options.pop("traceback"), options.pop("as_json")
    raise SystemExit(exit_code(lambda: _find_lr(inputs, options, as_json=as_json), traceback=traceback))


@tune.command("batch_size")
@inputs
@click.option("--key", help="Where the config says the batch size, if it is not found.")
@click.option(
    "--mode",
    type=click.Choice(["power", "binsearch"]),
    default="power",
    show_default=True,
    help="power: doubles until memory does not suffice; binsearch: then looks between the last two.",
)
@click.option("--init_val", default=2, show_default=True, help="The first batch size.")
@click.option("--max_val", default=8192, show_default=True, help="The largest to try.")
@click.option("--steps_per_trial", default=3, show_default=True, help="How many training steps for each.")
@click.option("--max_trials", default=25, show_default=True, help="How many sizes.")
@with_traceback
@as_json
def batch_size(inputs: tuple[str, ...], key: str | None, **options: Any) -> None:
    """Train a few steps with larger and larger batches, and find the largest that fits into memory.

    For each trial the training data is built anew. Nothing is written.
    INPUT: config files, and overrides (key::path=value).
    """
    from lighter.cli.stage import exit_code

    traceback, as_json = options.pop("traceback"), options.pop("as_json")
    raise SystemExit(exit_code(lambda: _find_batch_size(inputs, key, options, as_json=as_json), traceback=traceback))


def _find_lr(inputs: tuple[str, ...], options: dict[str, Any], *, as_json: bool) -> None:
    from lighter.engine.tuning import find_lr, plot

    result = find_lr(list(inputs), **options)
    picture = plot(result)
    if as_json:
        words = [f"{result.key}={result.lr:.2g}"] if result.key else []
        curve = [{"lr": lr, "loss": loss} for lr, loss in result.curve]
        files = {"file": result.folder.lr_curve, "plot": picture}
        give("tune.lr/1", {"lr": result.lr, "key": result.key, "overrides": words, "curve": curve, **files})
        return
    _print("lr", f"{result.lr:.2g}")
    if result.key:
        _print("paste", f"{result.key}={result.lr:.2g}")
    else:
        _print("paste", "the config has no key for it: set it where the optimizer is made")
    _print("curve", result.folder.lr_curve)
    _print("plot", picture or "needs matplotlib: pip install matplotlib")


def _find_batch_size(inputs: tuple[str, ...], key: str | None, options: dict[str, Any], *, as_json: bool) -> None:
    from lighter.engine.tuning import find_batch_size

    result = find_batch_size(list(inputs), key, **options)
    words = [f"{result.key}={result.batch_size}"]
    if as_json:
        give("tune.batch_size/1", {**asdict(result), "overrides": words})
        return
    _print("batch size", result.batch_size)
    _print("paste", words[0])
    if result.samples is not None and result.batch_size >= result.samples:
        _print("note", f"all {result.samples} samples fit into one batch: memory is no limit here")
    elif result.batch_size >= options["max_val"]:
        _print("note", "the search ends here (--max_val); half of it was tried, and fits")


def _print(label: str, value: Any) -> None:
    click.echo(f"{label:<12}{value}")
