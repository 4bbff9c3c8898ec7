"""Doubts: why two sides cannot be compared as they are. A comparison is refused for them unless they are allowed.

data      the samples that the metric was measured on are others
split     the data was split otherwise
metric    the metric, or the loss function behind it, is defined otherwise
code      modules of the user's own that both sides imported have changed
budget    the limits of the fits are others
tuning    one side was chosen from more trials than the other, or tested at a chosen epoch and the other at its last
config    members of one side have different configs
seeds     two members of a side have the same seed and fold, or a run is on both sides
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from lighter.config import examine
from lighter.config.problems import closest
from lighter.config.pure import unfolded
from lighter.config.tree import SEPARATOR, Node
from lighter.errors import RunError
from lighter.experiments.overrides import as_yaml
from lighter.results.batch_limits import evaluated
from lighter.results.scores import TEST, mode_of
from lighter.results.sides import Side, SideRun
from lighter.runs.compare import changed, flat
from lighter.runs.provenance import DECIDING
from lighter.runs.read import PAUSED, Run

KINDS = ("data", "split", "metric", "code", "budget", "tuning", "config", "seeds")
ALL = "all"
_NAMES = {"train": "training data", "val": "validation data", "test": "test data"}
_LIMITS = {"max_epochs": "epoch", "max_steps": "step", "max_time": ""}
_OF_MEMBER = ("seed", "run", f"data{SEPARATOR}split")  # differ between members of one side
_OF_LOSS = ("criterion", "loss_weights")
_BY_MODE = ("metrics", "evaluator_cfg")
_MOST_NAMED = 4
_MOST_REFUSED = 8
Tree = Callable[[Run], Node | None]


@dataclass(frozen=True)
class Doubt:
    """A difference between sides; `kind` is the word by which it is allowed."""

    kind: str
    text: str


def refuse(doubts: Sequence[Doubt], allow: Sequence[str]) -> list[Doubt]:
    """Return the doubts, all of which are allowed.

    Raises:
        RunError: some are not.
    """
    unknown = [word for word in allow if word not in (*KINDS, ALL)]
    if unknown:
        near = closest(unknown[0], (*KINDS, ALL))
        raise RunError(
            f"`{unknown[0]}` is nothing that can be allowed; there is: {', '.join((*KINDS, ALL))}. {near}".strip()
        )
    refused = [doubt for doubt in doubts if doubt.kind not in allow and ALL not in allow]
    if refused:
        kinds = ",".join(dict.fromkeys(doubt.kind for doubt in refused))
        lines = "\n".join(f"  {doubt.kind}: {doubt.text}" for doubt in refused[:_MOST_REFUSED])
        lines += f"\n  and {len(refused) - _MOST_REFUSED} more" if len(refused) > _MOST_REFUSED else ""
        raise RunError(
            f"these cannot be compared as they are:\n\n{lines}\n\nTo compare them all the same: --allow {kinds}"
        )
    return list(doubts)


def doubts_of(sides: Sequence[Side], metric: str) -> list[Doubt]:
    """Return all doubts about a comparison, each once: of each side, and of each beside the first."""
    trees: dict[Path, Node | None] = {}

    def tree(run: Run) -> Node | None:
        if run.folder.path not in trees:
            trees[run.folder.path] = _expanded(run)
        return trees[run.folder.path]

    first, *others = sides
    doubts = [doubt for side in sides for doubt in _within(side, tree)]
    doubts += [doubt for pair in combinations(sides, 2) for doubt in _on_both(*pair)]
    for other in others:
        doubts += _between(first, other, metric, tree)
    return list(dict.fromkeys(doubts))


def notes_of(sides: Sequence[Side], metric: str) -> list[str]:
    """Return what else differs between sides, or is not known of them: versions, machines, the content of the data."""
    runs = [each.run for side in sides for each in side.runs]
    packages = {name: {_package(run, name) for run in runs} - {None} for name in DECIDING}
    versions = [f"{name} {' and '.join(sorted(map(str, each)))}" for name, each in packages.items() if len(each) > 1]
    machines = {_machine(run) for run in runs} - {""}
    mode = mode_of(metric, runs[0])
    data = [each for run in runs for each in _data(run, mode)]
    notes = [f"The runs used different versions: {', '.join(versions)}."] if versions else []
    notes += [f"The runs were on different machines: {', '.join(sorted(machines))}."] if len(machines) > 1 else []
    if not data or any("fingerprint" not in each for each in data):
        notes.append(f"That the {_NAMES[mode]} are the same is not known: their content has no fingerprint.")
    return notes


def _between(first: Side, other: Side, metric: str, tree: Tree) -> Iterator[Doubt]:
    pairs = _alike(first, other)
    split = _splits(first, other, pairs)
    yield from split or _of_data(first, other, pairs, metric)
    yield from _parts_of_data(first, other, pairs, metric, tree)
    one, another = (_in_effect(tree(side.runs[0].run)) for side in (first, other))
    names = f"`{first.name}` and `{other.name}`"
    for what, definitions in _definitions(one, another, metric):
        yield Doubt("metric", f"{what} differs between {names}: {' and '.join(definitions)}")
    modules = _modules(first.runs[0].run, other.runs[0].run)
    if modules:
        yield Doubt("code", f"{_listed(modules)} changed between {names}")
    yield from _budget(first, other, one, another)
    yield from _checkpoints(first, other)
    if _chosen_from(first) != _chosen_from(other):
        told = f"`{first.name}` is the best of {_trials(first)} and `{other.name}` of {_trials(other)}"
        yield Doubt("tuning", f"{told}: more trials find a better one by chance alone")


def _on_both(first: Side, other: Side) -> Iterator[Doubt]:
    """Yield that two sides have runs in common, as a test takes their members to be of different fits."""
    homes = {each.run.folder.path.resolve() for each in first.runs}
    common = [each.run.id for each in other.runs if each.run.folder.path.resolve() in homes]
    if common:
        told = f"the run {common[0]} is" if len(common) == 1 else f"{len(common)} runs are"
        which = "" if len(common) == 1 else f": {_listed(common)}"
        yield Doubt("seeds", f"{told} on both sides, `{first.name}` and `{other.name}`{which}")


def _trials(side: Side) -> str:
    count = _chosen_from(side)
    return f"{count} trial{'s' * (count != 1)}"


def _chosen_from(side: Side) -> int:
    """Return from how many trials a side was chosen by its results; 1 if it was named."""
    return side.trials if side.is_chosen else 1


def _alike(first: Side, other: Side) -> list[tuple[SideRun, SideRun]]:
    """Return the members that should have had the same data: of the same seed and fold, of the same fold, or any."""
    keys: tuple[Callable[[SideRun], object], ...] = (lambda each: each.key, lambda each: each.fold)
    for key in keys:
        others = {key(each): each for each in other.runs}
        pairs = [(each, others[key(each)]) for each in first.runs if key(each) in others]
        if pairs:
            return pairs
    return [(first.runs[0], other.runs[0])]


def _splits(first: Side, other: Side, pairs: Sequence[tuple[SideRun, SideRun]]) -> list[Doubt]:
    for one, another in pairs:
        facts = [each.run.facts.get("split") or {} for each in (one, another)]
        if any(facts) and facts[0].get("hash") != facts[1].get("hash"):
            told = " and ".join(_split_text(each) for each in facts)
            where = f" ({one.label})" if one.key == another.key else ""
            return [Doubt("split", f"the data of `{first.name}` and `{other.name}` is split otherwise{where}: {told}")]
    return []


def _split_text(facts: Mapping[str, Any]) -> str:
    if not facts:
        return "not at all"
    n = f" in {facts['n']}" if facts.get("n") is not None else ""
    return f"{facts.get('kind')}{n}, fold {facts.get('fold')}, seed {facts.get('seed')}, {facts.get('val')} samples"


def _of_data(first: Side, other: Side, pairs: Sequence[tuple[SideRun, SideRun]], metric: str) -> Iterator[Doubt]:
    for one, another in pairs:
        mode = mode_of(metric, one.run)
        data = [_data(each.run, mode) for each in (one, another)]
        if not all(data):
            continue
        lengths = [[each.get("length") for each in side] for side in data]
        prints = [[each.get("fingerprint") for each in side] for side in data]
        if lengths[0] != lengths[1] or (all(prints[0]) and all(prints[1]) and prints[0] != prints[1]):
            told = " and ".join(_samples(each) for each in lengths)
            told = told if lengths[0] != lengths[1] else f"{_samples(lengths[0])} each, with another content"
            yield Doubt("data", f"the {_NAMES[mode]} of `{first.name}` and `{other.name}` differ: {told}")
            return


def _parts_of_data(
    first: Side, other: Side, pairs: Sequence[tuple[SideRun, SideRun]], metric: str, tree: Tree
) -> Iterator[Doubt]:
    """Yield that a limit of batches had a metric measured on another part of the data."""
    # the fits of one side have one config, which is a doubt of its own otherwise; each test may have limits of its own
    are_tests = any(side.runs[0].run.facts.get("stage") == TEST for side in (first, other))
    for one, another in pairs if are_tests else [(first.runs[0], other.runs[0])]:
        mode = mode_of(metric, one.run)
        parts = [
            evaluated(tree(each.run), mode, [data.get("length") for data in _data(each.run, mode)])
            for each in (one, another)
        ]
        if parts[0] != parts[1]:
            names = f"`{first.name}` and `{other.name}`"
            told = f"{parts[0]} and {parts[1]}"
            yield Doubt("data", f"{names} were measured on other parts of the {_NAMES[mode]}: {told}")
            return


def _samples(lengths: Sequence[object]) -> str:
    return f"{' + '.join(map(str, lengths))} samples"


def _data(run: Run, mode: str) -> list[dict[str, Any]]:
    data = (run.facts.get("data") or {}).get(mode) or []
    return [each for each in data if isinstance(each, dict)] if isinstance(data, list) else []


def _definitions(
    one: Mapping[str, Any], other: Mapping[str, Any], metric: str
) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield what in two configs defines a metric and is not the same, with both definitions."""
    mode, _, name = metric.removesuffix("/epoch").partition("/")
    is_loss = "loss" in name.split("/") or ("/" not in metric and metric.endswith("_loss"))
    is_metric = name.startswith("metrics/") and mode in _NAMES
    keys = _OF_LOSS if is_loss else (f"{mode}_metrics", *_BY_MODE) if is_metric else ()
    for key in keys:
        definitions = [_named(_of_mode(_module(config).get(key), mode, key), name) for config in (one, other)]
        if definitions[0] != definitions[1]:
            yield f"`{key}`", (_short(definitions[0]), _short(definitions[1]))


def _module(config: Mapping[str, Any]) -> Mapping[str, Any]:
    module = config.get("model") or config.get("system")
    return module if isinstance(module, Mapping) else {}


def _of_mode(definition: object, mode: str, key: str) -> object:
    """Return the definition for a mode, of a key that has one for each."""
    if key not in _BY_MODE or not isinstance(definition, Mapping) or not definition.keys() & _NAMES.keys():
        return definition
    if key == "metrics":
        return definition.get(mode)
    # an evaluator's modes take from those before them
    before = list(_NAMES)[: list(_NAMES).index(mode) + 1]
    return [definition.get(each) for each in before]


def _named(definition: object, metric: str) -> object:
    """Return the definition of one metric out of those of a mode, where its name tells which it is."""
    if isinstance(definition, Mapping) and "_target_" not in definition:
        for name in metric.split("/"):
            if name in definition:
                return definition[name]
    return definition


def _modules(one: Run, other: Run) -> list[str]:
    """Return the modules that changed between two runs; the whole checkout where no module of the user's is known."""
    codes = [run.facts.get("code") or {} for run in (one, other)]
    digests = {(run.facts.get("source") or {}).get("digest") for run in (one, other)}
    if not any(codes):
        return ["the checkout"] if len(digests) > 1 and None not in digests else []
    return [f"`{name}`" for name in codes[0] if codes[1].get(name, codes[0][name]) != codes[0][name]]


def _budget(first: Side, other: Side, one: Mapping[str, Any], another: Mapping[str, Any]) -> Iterator[Doubt]:
    limits = [_limits(side.runs[0].run, config) for side, config in ((first, one), (other, another))]
    if limits[0] != limits[1]:
        told = " and ".join(each or "no limit" for each in limits)
        yield Doubt("budget", f"`{first.name}` and `{other.name}` were trained with other limits: {told}")


def _checkpoints(first: Side, other: Side) -> Iterator[Doubt]:
    """Yield that one side was tested at its last checkpoints and the other at those of an epoch that was chosen."""
    names = [[_checkpoint(each.run) for each in side.runs] for side in (first, other)]
    known = [[name for name in each if name] for each in names]
    if all(known) and len({_is_last(name) for each in known for name in each}) > 1:
        told = [_listed([f"`{name}`" for name in dict.fromkeys(each)]) for each in known]
        yield Doubt(
            "tuning",
            f"`{first.name}` was tested with {told[0]} and `{other.name}` with {told[1]}: the best epoch of one and"
            " the last of another are no comparison",
        )


def _checkpoint(run: Run) -> str:
    """Return the name of the checkpoint that a test used; nothing for other runs."""
    checkpoint = run.facts.get("checkpoint")
    return Path(checkpoint).name if run.facts.get("stage") == TEST and isinstance(checkpoint, str) else ""


def _is_last(name: str) -> bool:
    return name.startswith("last")


def _limits(run: Run, config: Mapping[str, Any]) -> str:
    if run.facts["status"] == PAUSED:  # at a rung, before its limit
        return _counted((run.facts.get("progress") or {}).get("epoch"), "epoch")
    trainer = config.get("trainer")
    given = trainer if isinstance(trainer, Mapping) else {}
    known = [_counted(given[key], noun) for key, noun in _LIMITS.items() if given.get(key) not in (None, -1)]
    return " or ".join(known)


def _counted(number: object, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}" if noun else str(number)


def _further(side: Side) -> Iterator[Doubt]:
    """Yield that some members of a trial have trained on while others wait at its rung."""
    further = [each.run.id for each in side.runs if each.is_further]
    if further and len(further) < len(side.runs):
        verb = "has" if len(further) == 1 else "have"
        text = f"{_listed(further)} of `{side.name}` {verb} trained further than its other members"
        yield Doubt("budget", text)


def _within(side: Side, tree: Tree) -> Iterator[Doubt]:
    keys = [each.key for each in side.runs]
    twice = [each for at, each in enumerate(side.runs) if each.key in keys[:at]]
    if twice:
        text = f"`{side.name}` has {twice[0].label} twice: a repeat of a fit is no new sample ({twice[0].run.id})"
        yield Doubt("seeds", text)
    changed_code = next((each for each in side.runs[1:] if _modules(side.runs[0].run, each.run)), None)
    if changed_code is not None:
        modules = _listed(_modules(side.runs[0].run, changed_code.run))
        yield Doubt("code", f"{modules} changed between members of `{side.name}`: see {changed_code.run.id}")
    yield from _further(side)
    if side.experiment is not None:
        return
    first = _of_side(tree(side.runs[0].run))
    for each in side.runs[1:]:
        differing = [name for name, *_ in changed(first, _of_side(tree(each.run)))]
        if differing:
            names = _listed([f"`{name}`" for name in differing])
            ids = f"{side.runs[0].run.id} and {each.run.id}"
            yield Doubt("config", f"the runs of `{side.name}` are not of one config: {ids} differ in {names}")
            return


def _of_side(tree: Node | None) -> dict[str, Any]:
    """Return the values that members of one side have in common."""
    return {
        path: value
        for path, value in flat(tree.plain() if tree is not None else {}).items()
        if not any(path == each or path.startswith(f"{each}{SEPARATOR}") for each in _OF_MEMBER)
    }


def _expanded(run: Run) -> Node | None:
    """Return a run's config with its copies (`%`) worked out; None if it cannot be read any more."""
    if not run.folder.config.is_file():
        return None
    config, _ = examine([run.folder.config])
    return config.expanded if config is not None else None


def _in_effect(tree: Node | None) -> dict[str, Any]:
    """Return the sections that are compared, with what they refer to."""
    return {name: unfolded(tree, name) for name in ("model", "system", "trainer")} if tree is not None else {}


def _package(run: Run, name: str) -> str | None:
    packages = (run.facts.get("software") or {}).get("packages") or {}
    version = packages.get(name)
    return str(version) if version is not None else None


def _machine(run: Run) -> str:
    hardware, trainer = run.facts.get("hardware") or {}, run.facts.get("trainer") or {}
    return str(trainer.get("gpu") or hardware.get("cpu") or "")


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"{', '.join(names[:_MOST_NAMED])}{more}"


def _short(definition: object) -> str:
    from lighter.config.problems import shortened

    return shortened(as_yaml(definition), 100) if definition is not None else "nothing"
