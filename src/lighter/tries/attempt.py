"""One try: overrides of a baseline to a verdict. It may be killed at any moment; the same overrides resume it."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from lighter.config import Config
from lighter.config.load import is_override
from lighter.engine.execution import user_code_importable
from lighter.errors import LighterError, RunError
from lighter.files.run_folder import CONFIG, RunFolder
from lighter.processes.signals import stop_signals
from lighter.runs.record import write_config
from lighter.tries.baseline import Baseline, find_baseline
from lighter.tries.evaluation import Facts, changed_code, changed_facts, facts_of
from lighter.tries.evidence import LEAST_PAIRS, evidence, is_hopeless, least_pairs
from lighter.tries.frozen import BUDGET, Change, refusals
from lighter.tries.ledger import BEGUN, ENDED, OPENED, PAIR, REFUSED, VERSION, Entry, Ledger, Pair, counted
from lighter.tries.levels import ALPHA, WORSE, level
from lighter.tries.outcome import BETTER, UNDECIDED, WORSE_VERDICT, Cost, Outcome, gains
from lighter.tries.pairs import Fits, StoppedError, are_identical, changed_records
from lighter.tries.sides import checked_sides, digest

log = logging.getLogger("lighter")

MOST_PAIRS = 20
NOTHING = "nothing"
_LENGTHS = "The trainings of both sides may differ in length."
_UNKNOWN = "This content of the validation batches is not frozen, as it cannot be hashed: {}."


@dataclass(frozen=True)
class Options:
    """The options of a try.

    Attributes:
        metric: see `find_baseline`.
        alpha: the chance that more than 5 of all changes that do nothing are kept; fixed by the first try.
        allow: `budget`, for a candidate that trains longer or shorter.
        workers: fits at once; by default as many as the baseline's experiment has, or the machine can.
    """

    metric: str | None = None
    max_pairs: int = MOST_PAIRS
    alpha: float | None = None
    allow: tuple[str, ...] = ()
    workers: int | None = None
    dry_run: bool = False


def attempt(
    overrides: Sequence[str], against: str, root: Path, options: Options, on_cost: Callable[[Cost], None] | None = None
) -> Outcome:
    """Try overrides against a baseline.

    Args:
        on_cost: called with what it took once it ends, also if it fails or is stopped.

    Raises:
        RunError: there is no such baseline, or the change is refused: it is not one of training alone.
        ConfigError: the config with the overrides is wrong.
        LighterError: a fit failed.
        KeyboardInterrupt, Stopped: a signal stopped it; the same overrides resume it.
    """
    others = [word for word in overrides if not is_override(word)]
    if others:
        raise RunError(
            f"`{others[0]}` is no override; a try changes its baseline by overrides: model::optimizer::lr=0.01"
        )
    baseline = find_baseline(against, root, options.metric)
    ledger = Ledger(baseline.folder)
    if options.dry_run:
        return _Attempt(baseline, ledger, tuple(overrides), options).looked_at()
    with ledger.locked(baseline.name):
        made = _Attempt(baseline, ledger, tuple(overrides), options)
        try:
            return made.made()
        finally:
            if on_cost is not None:
                on_cost(made.cost)


class _Attempt:
    """A try, whose lock this process has."""

    def __init__(self, baseline: Baseline, ledger: Ledger, overrides: tuple[str, ...], options: Options) -> None:
        self.baseline, self.ledger, self.overrides, self.options = baseline, ledger, overrides, options
        self.head = ledger.opened()
        if self.head is not None and options.metric is None:
            direction, _, metric = str(self.head["objective"]).partition(" ")
            self.baseline = replace(baseline, metric=metric, is_maximized=direction == "max")
        if self.head is not None:
            # runs that the baseline has got since do not change the seeds of later pairs
            first = int(self.head.get("first_seed", baseline.first_seed))
            self.baseline = replace(self.baseline, first_seed=first)
        self.fits: tuple[Fits, ...] = ()
        self.unknown: set[str] = set()
        self.alpha = options.alpha or (self.head or {}).get("alpha") or ALPHA
        self._refuse_other_terms()
        self.sides = checked_sides(self.baseline, overrides, options.max_pairs, options.workers)

    def looked_at(self) -> Outcome:
        """Return what would be tried; nothing is written or trained."""
        self._refuse(self._changes())
        return self._outcome(None, None)

    @property
    def cost(self) -> Cost:
        """The samples that were trained so far."""
        if not self.fits:
            return Cost()
        baseline, candidate = ((len(each.begun), each.seconds(each.begun)) for each in self.fits)
        return Cost(*candidate, *baseline)

    def made(self) -> Outcome:
        """Make the try, resume it, or return what came of it."""
        self._refuse(self._changes())
        if not self.sides.changes:
            return self._outcome(None, UNDECIDED, NOTHING)
        entry = self._entry()
        # evidence may be looked at as often as one likes, so an undecided try goes on if more pairs are asked for
        if entry.verdict is not None and not (entry.verdict == UNDECIDED and entry.limit < self.options.max_pairs):
            return self._outcome(entry, entry.verdict, entry.reason)
        return self._trained(entry)

    # Before anything is trained

    def _refuse_other_terms(self) -> None:
        """See that the ledger was opened for the same question."""
        if self.head is None:
            return
        asked = {"objective": self.baseline.objective, "alpha": self.alpha, "config": digest(self.baseline.config)}
        said = {
            "objective": "its tries are compared by `{}`, and not by `{}`: another metric would be another question",
            "alpha": "it was opened with alpha {}, and not {}: how much may be kept by chance is fixed before",
            "config": "the config of the baseline has changed since",
        }
        for key, now in asked.items():
            if self.head.get(key) != now:
                raise RunError(f"{self.ledger.path}: {said[key].format(self.head.get(key), now)}")

    def _changes(self) -> list[Change]:
        """Return what is refused. The first try opens the ledger, unless that is a dry run."""
        changes = self._changes_of_config()
        if changes:
            return changes
        facts = self._facts(self.sides.candidate)
        if self.head is not None:
            return changed_facts(self.head.get("frozen") or {}, facts)
        # of the baseline itself: the candidate might have changed what its first facts are
        first = self._facts(self.sides.baseline) if self.sides.changes else facts
        changes = changed_code(self.baseline.run.facts.get("code") or {}, first["code"])
        if not changes and not self.options.dry_run:
            self._open(first)
        return changes or changed_facts(first, facts)

    def _changes_of_config(self) -> list[Change]:
        least = least_pairs(self._next_level())
        if self.options.max_pairs < least:
            needed = f"at least {least} pairs can show that a change is better, and --max_pairs is"
            raise RunError(f"{needed} {self.options.max_pairs}")
        sides = self.sides
        return refusals(sides.baseline, sides.candidate, self.baseline.metric, self.options.allow)

    def _facts(self, config: Config) -> Facts:
        with user_code_importable(config, []):
            facts = facts_of(config, self.sides.baseline, self.baseline.metric)
        self.unknown |= {*facts["unknown"]}
        return facts

    def _open(self, facts: Facts) -> None:
        terms = {"objective": self.baseline.objective, "alpha": self.alpha, "config": digest(self.baseline.config)}
        self.ledger.add(OPENED, version=VERSION, first_seed=self.baseline.first_seed, **terms, frozen=facts)
        self.head = self.ledger.opened()

    def _refuse(self, changes: Sequence[Change]) -> None:
        if not changes:
            return
        if not self.options.dry_run and self.head is not None:
            self.ledger.add(REFUSED, overrides=[*self.overrides], changes=[str(change) for change in changes])
        raise _refusal(self.baseline, changes)

    def _next_level(self) -> float:
        return level(counted(self.ledger.entries()) + 1, self.alpha)

    def _entry(self) -> Entry:
        """Return this try in the ledger: one that is there, or a new one, which counts from now on."""
        entries, config = self.ledger.entries(), digest(self.sides.saved_candidate)
        same = [each for each in entries if each.config == config and each.error is None]
        if same:
            return same[-1]
        number = max((each.number for each in entries), default=0) + 1
        entry = Entry(number, self.overrides, config, self._next_level())
        facts = {"overrides": [*entry.overrides], "config": config, "level": entry.level}
        self.ledger.add(BEGUN, **{"try": number}, **facts, max_pairs=self.options.max_pairs)
        return entry

    # Training

    def _trained(self, entry: Entry) -> Outcome:
        with stop_signals() as caught, caught.deferred(lambda: True):
            with ExitStack() as stack:
                self.fits = fits = self._fits(entry, stack, lambda: caught.received is not None)
                try:
                    outcome = self._decided(entry, *fits)
                except StoppedError:
                    log.warning("stopped; the same command resumes this try")
                    outcome = None
                except LighterError as error:
                    if not isinstance(error, _BaselineError):
                        self._end(entry, error=str(error))
                    raise
            caught.raise_again()
        assert outcome is not None
        return outcome

    def _fits(self, entry: Entry, stack: ExitStack, is_stopped: Callable[[], bool]) -> tuple[Fits, Fits]:
        sides, home = self.sides, self.ledger.folder
        folders = home / "baseline", home / f"try-{entry.number:04}"
        for folder, saved in zip(folders, (sides.saved_baseline, sides.saved_candidate), strict=True):
            folder.mkdir(exist_ok=True)
            if not (folder / CONFIG).is_file():
                write_config(saved, RunFolder(folder))
        names = f"the baseline {self.baseline.name}", f"`{' '.join(self.overrides)}`"
        asked = sides.of_baseline, sides.of_candidate
        of_baseline, of_candidate = (
            Fits(name, folder, each, stack, is_stopped)
            for name, folder, each in zip(names, folders, asked, strict=True)
        )
        return of_baseline, of_candidate

    def _decided(self, entry: Entry, baseline: Fits, candidate: Fits) -> Outcome:
        """Train pair after pair until it is decided."""
        # whether anything changed at all is seen after the first pair, and whether that is better from the fourth on
        for count in (1, *range(LEAST_PAIRS, self.options.max_pairs + 1)):
            seeds = range(self.baseline.first_seed, self.baseline.first_seed + count)
            with _of_baseline():
                baseline.train(seeds)
            candidate.train(seeds)
            self._note_pairs(entry, seeds, baseline, candidate)
            first = seeds[0]
            if count == 1 and are_identical(baseline.run(first), candidate.run(first)):
                return self._end(entry, UNDECIDED, NOTHING)
            verdict, reason = _decision(entry, self.baseline, self.options.max_pairs) if count > 1 else (None, "")
            if verdict is not None:
                return self._end(entry, verdict, reason)
        raise AssertionError("the last pair decides")

    def _note_pairs(self, entry: Entry, seeds: Sequence[int], baseline: Fits, candidate: Fits) -> None:
        for seed in seeds:
            if seed in {pair.seed for pair in entry.pairs}:
                continue
            changes = changed_records(baseline.run(seed), candidate.run(seed))
            if changes:
                raise _refusal(self.baseline, changes)
            pair = Pair(seed, baseline.value(seed), candidate.value(seed))
            if not math.isfinite(pair.candidate):
                raise LighterError(f"{self.baseline.metric} of {candidate.name} is {pair.candidate} with seed {seed}")
            if not math.isfinite(pair.baseline):
                raise _BaselineError(f"{self.baseline.metric} of {baseline.name} is {pair.baseline} with seed {seed}")
            entry.pairs.append(pair)
            self.ledger.add(PAIR, **{"try": entry.number}, **vars(pair))
            shown = f"{pair.baseline:.4g} and {pair.candidate:.4g}"
            log.info("pair %d, seed %d: %s is %s", len(entry.pairs), seed, self.baseline.metric, shown)

    def _end(self, entry: Entry, verdict: str | None = None, reason: str = "", error: str = "") -> Outcome:
        entry.counts, entry.verdict = reason != NOTHING, verdict
        entry.limit = max(self.options.max_pairs, len(entry.pairs))  # more were asked for, of one that was killed
        facts = {"verdict": verdict, "reason": reason, "counts": entry.counts, "limit": entry.limit}
        self.ledger.add(ENDED, **{"try": entry.number}, **facts, **({"error": error} if error else {}))
        return self._outcome(entry, verdict, reason)

    def _outcome(self, entry: Entry | None, verdict: str | None, reason: str = "") -> Outcome:
        of = self.baseline
        entries = self.ledger.entries()
        notes = [*self.sides.notes, *([_LENGTHS] if BUDGET in self.options.allow else [])]
        if self.unknown:
            notes.append(_UNKNOWN.format(", ".join(sorted(self.unknown))))
        return Outcome(
            verdict,
            of.name,
            self.overrides,
            of.metric,
            of.is_maximized,
            entry.level if entry is not None else self._next_level(),
            entry.limit if entry is not None else self.options.max_pairs,
            counted(entries),
            reason,
            entry.number if entry is not None else None,
            tuple(entry.pairs) if entry is not None else (),
            tuple(self.sides.changes),
            self.cost,
            str(self.ledger.folder / f"try-{entry.number:04}") if entry is not None else "",
            tuple(notes),
        )


class _BaselineError(LighterError):
    """A fit of the baseline failed, which is nothing that the candidate did."""


@contextmanager
def _of_baseline() -> Iterator[None]:
    try:
        yield
    except LighterError as error:
        raise _BaselineError(str(error)) from error


def _decision(entry: Entry, baseline: Baseline, most: int) -> tuple[str | None, str]:
    """Return the verdict, and why it is undecided; None if another pair is to decide."""
    values = gains(entry.pairs, baseline.is_maximized)
    if evidence(values) >= 1 / entry.level:
        return BETTER, ""
    if evidence([-each for each in values]) >= 1 / WORSE:
        return WORSE_VERDICT, ""
    if len(values) >= most:
        return UNDECIDED, "max_pairs"
    return (UNDECIDED, "hopeless") if is_hopeless(values, most, entry.level) else (None, "")


def _refusal(baseline: Baseline, changes: Sequence[Change]) -> RunError:
    lines = "\n".join(f"  {change}" for change in changes)
    hint = "A try changes what trains; what evaluates stays as the baseline has it."
    if all(change.kind == BUDGET for change in changes):
        hint = "To compare trainings of different length all the same: --allow budget"
    return RunError(
        f"this try against {baseline.name} is refused, as it changes more than what trains:\n\n{lines}\n\n{hint}"
    )
