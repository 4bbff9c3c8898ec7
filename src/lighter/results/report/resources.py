"""Time, machines, precision and versions of runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from lighter.results.report.search import instant
from lighter.results.report.subject import Entry
from lighter.runs.provenance import DECIDING


def resources(entries: Sequence[Entry]) -> dict[str, Any]:
    """Return the time of each run on a common clock, and the machines and versions with their numbers of runs."""
    return {
        "runs": [{"run": number, **_time(entry.run.facts)} for number, entry in enumerate(entries)],
        "seconds": round(sum(entry.run.seconds or 0 for entry in entries), 1),
        "machines": _counted(_machine(entry.run.facts) for entry in entries),
        "software": _counted(_software(entry.run.facts) for entry in entries),
    }


def _time(facts: Mapping[str, Any]) -> dict[str, Any]:
    starts = [*(facts.get("starts") or []), facts]
    spans = [_span(each) for each in starts]
    return {"spans": [span for span in spans if span is not None]}


def _span(start: Mapping[str, Any]) -> list[float] | None:
    begun, ended = instant(start.get("started")), instant(start.get("ended"))
    if begun is None:
        return None
    if ended is None and start.get("seconds"):
        ended = begun + float(start["seconds"])
    return [begun, ended] if ended is not None else None


def _machine(facts: Mapping[str, Any]) -> str:
    hardware, trainer = facts.get("hardware") or {}, facts.get("trainer") or {}
    gpus = [str(each) for each in hardware.get("gpus") or []]
    cards = [f"{number} x {name}" if number > 1 else name for name, number in Counter(gpus).items()]
    cpu = f"{hardware.get('cpus')} cores ({hardware.get('cpu') or hardware.get('machine')})" if hardware else ""
    memory = f"{hardware['memory_gb']:g} GB" if hardware.get("memory_gb") else ""
    used = f"used {trainer['devices']} {_kind(trainer)}" if trainer.get("devices") else ""
    precision = f"precision {trainer['precision']}" if trainer.get("precision") else ""
    return ", ".join(filter(None, [*cards, cpu, memory, used, precision]))


def _kind(trainer: Mapping[str, Any]) -> str:
    kind = str(trainer.get("accelerator") or "").removesuffix("Accelerator").upper()
    return {"CPU": "CPU process", "CUDA": "GPU"}.get(kind, kind) + ("s" if trainer.get("devices") != 1 else "")


def _software(facts: Mapping[str, Any]) -> str:
    software = facts.get("software") or {}
    packages = software.get("packages") or {}
    known = [f"{name} {packages[name]}" for name in DECIDING if name in packages and name not in software]
    heads = [
        f"{label} {software[key]}" for key, label in (("lighter", "Lighter"), ("python", "Python")) if key in software
    ]
    return ", ".join([*heads, *known])


def _counted(texts: Any) -> list[dict[str, Any]]:
    return [{"text": text, "runs": number} for text, number in Counter(filter(None, texts)).most_common()]
