"""Sentences and numbers of a comparison: its verdict, and what it does not cover."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lighter.runs.filter import mode_of_metric

if TYPE_CHECKING:
    from lighter.results.comparison import Row
    from lighter.results.sides import Side
    from lighter.results.testing import Against, Outcome

_NOUNS = {"seed": "seeds", "fold": "folds", "seed and fold": "folds", "sample": "samples", "none": "members"}
_MOST_NAMED = 3
_KINDS: dict[Outcome, str] = {
    "better": "is better",
    "worse": "is worse",
    "tied": "cannot be told apart",
    "untested": "nothing can be said of",
}
_OPPOSED = "the mean and the typical difference point different ways"


def number(value: float, scale: float | None = None) -> str:
    """Return a number with as many digits as `scale`, the width of what is not known of it, has two of."""
    if not scale or not math.isfinite(scale) or not math.isfinite(value):
        return f"{value:.4g}"
    digits = max(1 - math.floor(math.log10(abs(scale))), 0)
    return f"{value:.{digits}f}" if digits <= 6 and max(abs(value), abs(scale)) < 1e6 else f"{value:.4g}"


def mean_text(mean: float, half_width: float | None) -> str:
    """Return a mean with half of its interval, if it has one: `0.267 ± 0.033`."""
    return f"{number(mean, half_width)} ± {number(half_width, half_width)}" if half_width else number(mean)


def p_text(p_value: float) -> str:
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.2g}"


def interval_text(against: Against, sign: int = 1) -> str:
    """Return the interval of a difference, for a sign of -1 that of the difference the other way round."""
    if isinstance(against.interval, str):
        return ""
    low, high = sorted(sign * each for each in against.interval)
    return f"{number(low, high - low)} to {number(high, high - low)}"


def difference_text(against: Against, sign: int = 1) -> str:
    scale = None if isinstance(against.interval, str) else against.interval[1] - against.interval[0]
    return number(sign * against.difference, scale)


def verdict(rows: Sequence[Row], metric: str, *, is_maximized: bool, reference: str | None, correction: str) -> str:
    """Return the verdict as one sentence.

    Args:
        rows: the best first.
        reference: the side that the others were to be compared with; None if they are compared with the best.
        correction: of the p-values, as `Tested` has it.
    """
    others = [row for row in rows if row.against is not None]
    if len(others) == 1:
        beside = next(row for row in rows if row is not others[0])
        return _of_two(others[0], beside, metric, is_maximized)
    if not correction and not any(row.against.is_tested for row in others if row.against is not None):
        return _nothing(f"these {len(others) + 1}", others[0], metric)
    if reference is not None:
        return _against(others, reference, metric, is_maximized, correction)
    return _of_several(rows[0], others, metric, is_maximized, correction)


def _of_two(row: Row, beside: Row, metric: str, is_maximized: bool) -> str:
    against = row.against
    assert against is not None
    name, reference = f"`{row.side.name}`", f"`{against.reference}`"
    if not against.is_tested:
        return _nothing(f"{reference} and {name}", row, metric)
    if against.is_decided:
        is_better = against.outcome(is_maximized=is_maximized) == "better"
        better, worse = (row, beside) if is_better else (beside, row)
        direction = "higher" if is_maximized else "lower"
        amount = number(abs(against.difference), _width(against))
        sign = against.direction  # the interval is that of the amount
        told = f"`{better.side.name}` is better than `{worse.side.name}`: {metric} is {direction} by {amount}"
        return f"{told} ({_facts(against, (better, worse), sign)})."
    first, second, sign = (row, beside, 1) if row.is_best else (beside, row, -1)
    told = f"`{first.side.name}` and `{second.side.name}` cannot be told apart by {metric}"
    facts = _facts(against, (first, second), sign)
    if against.is_opposed:
        mean, typical = number(sign * against.mean_difference, _width(against)), difference_text(against, sign)
        return f"{told}: {_OPPOSED}: the mean one is {mean}, the typical one {typical} ({facts})."
    return f"{told}: the difference is {difference_text(against, sign)} ({facts}){_needed(against)}."


def _nothing(sides: str, row: Row, metric: str) -> str:
    """Return that nothing can be said of sides, with the reason that one of them has."""
    assert row.against is not None
    reason = str(row.against.interval).rstrip(".")
    return f"Nothing can be said of {sides} by {metric}: {reason[:1].lower()}{reason[1:]}."


def _facts(against: Against, of: tuple[Row, Row], sign: int = 1) -> str:
    interval = interval_text(against, sign)
    parts = [f"95% interval {interval}"] if interval else []
    parts += [p_text(against.p_adjusted)] if against.p_adjusted is not None else []
    how = {"none": ", not paired", "sample": " of one fit each"}.get(against.pairing, ", paired")
    return ", ".join([*parts, f"{_counted(against, of)}{how}"])


def _counted(against: Against, of: tuple[Row, Row]) -> str:
    """Return the number of pairs; where there are none, that of each side's members, in the order of the sentence."""
    counts = [len(row.values) for row in of]
    if against.pairing != "none" or counts[0] == counts[1]:
        return f"{against.pairs} {_NOUNS[against.pairing]}"
    return f"{counts[0]} and {counts[1]} {_NOUNS[against.pairing]}"


def _needed(against: Against) -> str:
    needed = against.more_members_needed
    if not isinstance(needed, int):
        return ""
    noun = "seed" if against.pairing in ("seed", "none") else "sample" if against.pairing == "sample" else "member"
    more = "one more" if needed == 1 else f"some {needed} more"
    return f"; {more} {noun}{'s' * (needed != 1)} of each would decide it"


def _against(others: Sequence[Row], reference: str, metric: str, is_maximized: bool, correction: str) -> str:
    kinds = _by_outcome(others, is_maximized)
    untested = kinds.pop("untested")
    verbs = {each: _KINDS[each].replace("is ", "is " if len(names) == 1 else "are ") for each, names in kinds.items()}
    parts = [f"{_listed(names)} {verbs[each]}" for each, names in kinds.items() if names]
    parts += [f"{_KINDS['untested']} {_listed(untested)}"] if untested else []
    return f"Compared with `{reference}` by {metric}: {', '.join(parts)}{_bracketed(correction)}."


def _by_outcome(others: Sequence[Row], is_maximized: bool) -> dict[Outcome, list[str]]:
    """Return the names of sides by how they are beside the reference."""
    found: dict[Outcome, list[str]] = {each: [] for each in _KINDS}
    for row in others:
        assert row.against is not None
        found[row.against.outcome(is_maximized=is_maximized)].append(row.side.name)
    return found


def _of_several(best: Row, others: Sequence[Row], metric: str, is_maximized: bool, correction: str) -> str:
    name, kinds = f"`{best.side.name}`", _by_outcome(others, is_maximized)
    better, beaten, tied, untested = (kinds[each] for each in _KINDS)
    if len(beaten) == len(others):
        return f"{name} is the best of {len(others) + 1} by {metric}{_bracketed(correction)}."
    # over the members that can be compared, it may be worse than a side with a lower mean over all members
    said = [f"is worse than {_listed(better)} over the members that can be paired"] if better else []
    said += [f"{'it ' * bool(said)}cannot be told apart from {_listed(tied)}"] if tied else []
    said += [f"{'it ' * bool(said)}is better than {_listed(beaten)}"] if beaten else []
    rest = [f"{_KINDS['untested']} {_listed(untested)}"] if untested else []
    joined = ", but " if better else ", and " if said else ""
    first = f"{name} has the best mean of {len(others) + 1} by {metric}{joined}"
    return f"{first}{'; '.join(said)}{'; ' * bool(rest)}{''.join(rest)}{_bracketed(correction)}."


def _bracketed(text: str) -> str:
    return f" ({text})" if text else ""


def _listed(names: Sequence[str]) -> str:
    named = [f"`{name}`" for name in names]
    if len(named) > _MOST_NAMED:
        return f"{', '.join(named[:_MOST_NAMED])} and {len(named) - _MOST_NAMED} more"
    return " and ".join(filter(None, (", ".join(named[:-1]), named[-1])))


def _width(against: Against) -> float | None:
    return None if isinstance(against.interval, str) else against.interval[1] - against.interval[0]


def merged(lines: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the lines of several comparisons, each once: with their names, unless all have it."""
    names: dict[str, list[str]] = {}
    for name, each in lines.items():
        for line in dict.fromkeys(each):
            names.setdefault(line, []).append(name)
    return [line if len(of) == len(lines) else f"{', '.join(of)}: {line}" for line, of in names.items()]


def notes(rows: Sequence[Row], metric: str) -> list[str]:
    """Return what a verdict does not cover, as far as the members say it."""
    sides = [row.side for row in rows]
    found = [note for side in sides for note in _of_side(side)]
    lacking = list(dict.fromkeys(line for side in sides for line in side.not_compared))
    found += [f"Not compared, since there is nothing to compare: {', '.join(lacking)}."] if lacking else []
    tested = [row.against for row in rows if row.against is not None and row.against.is_tested]
    pairings = {each.pairing for each in tested}
    most = max(len(row.values) for row in rows)
    fewest = min((each.pairs for each in tested), default=most)
    if pairings == {"seed"} and fewest < most:
        found.append(f"Seeds that only one side has are not in the differences, which are over {fewest} pairs.")
    if "none" in pairings:
        found.append("Members are not paired: give both sides the same seeds, and smaller differences will be seen.")
    if "sample" in pairings:
        found.append("One fit each, so the interval is over the samples alone: another seed may reverse it.")
    found += [_opposed(row) for row in rows if len(rows) > 2 and row.against is not None and row.against.is_opposed]
    if mode_of_metric(metric) == "val":
        found.append(
            "These are values of the validation data. If anything was chosen by them, an epoch or a learning rate say,"
            " report those of the test data: --metric test/..."
        )
    return found


def _opposed(row: Row) -> str:
    against = row.against
    assert against is not None
    amounts = f"{number(against.mean_difference, _width(against))} and {difference_text(against)}"
    return f"`{row.side.name}` beside `{against.reference}`: {_OPPOSED}: {amounts}. So neither is called better."


def _of_side(side: Side) -> list[str]:
    found = []
    if side.left_out:
        out, total = len(side.left_out), len(side.runs) + len(side.left_out)
        verb = "is" if out == 1 else "are"
        found.append(f"{out} of {total} members of `{side.name}` {verb} not in it: {'; '.join(side.left_out)}.")
    if side.is_chosen:
        found.append(
            f"`{side.name}` is the best of {side.trials} trials by the same values, so its mean is too good: expect"
            " less of it on new seeds or new data."
        )
    return found
