"""Test sides against each other: the effect of each pair, corrected for all pairs that were tested."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal, TypeVar

if TYPE_CHECKING:
    from lighter.results.statistics.effect import Effect, Refusal, Scores

SIGNIFICANT = 0.05
Test = Literal["auto", "permutation", "bayes", "aso"]
Outcome = Literal["better", "worse", "tied", "untested"]
T = TypeVar("T")
_MOST_WITH_HOLM = 20  # sides: Holm's correction needs the p-values of all pairs, which are 1,770 of 60 trials
_MAY_BE_REFUSED = ("interval", "p_value", "probability_better", "more_members_needed")


@dataclass(frozen=True)
class Against:
    """A side compared with the reference: the best one, or the one that was named before.

    Attributes:
        difference: this side minus the reference over what was paired, in the metric's unit: the typical difference
            (Hodges-Lehmann) where the interval is of that, otherwise the mean.
        mean_difference: the mean of this side minus that of the reference, over what was paired.
        interval: the 95% confidence interval of `difference`; or why there is none.
        p_value: of the test named in `test`; or why there is none.
        p_adjusted: corrected for all comparisons, by Holm, or Bonferroni for very many; None if there is no p-value.
        probability_better: that a new member of this side beats a new one of the reference; or why it is not known.
        pairing: `seed`, `fold`, `seed and fold`, `sample` or `none`; `pairs` is their number.
        more_members_needed: how many more members of each side would decide it at a power of 0.8; or why not known.
        also: what another test says, if one was asked for.
    """

    reference: str
    difference: float
    mean_difference: float
    interval: tuple[float, float] | str
    p_value: float | str
    p_adjusted: float | None
    probability_better: float | str
    test: str
    method: str
    pairing: str
    pairs: int
    more_members_needed: int | str | None
    also: str = ""

    @property
    def is_tested(self) -> bool:
        """True if there is a test or an interval, so that something can be said."""
        return self.p_adjusted is not None or not isinstance(self.interval, str)

    @property
    def direction(self) -> int:
        """1 if this side has the higher values, otherwise -1: by the interval, as that is what is called."""
        middle = self.difference if isinstance(self.interval, str) else sum(self.interval)
        return 1 if middle > 0 else -1

    @property
    def is_opposed(self) -> bool:
        """True if a difference would be called, but the mean points the other way: a few members outweigh the rest."""
        return self._is_called and self.direction * self.mean_difference <= 0

    @property
    def is_decided(self) -> bool:
        """True if the test, corrected for all comparisons, the interval and the mean say the same."""
        return self._is_called and not self.is_opposed

    def outcome(self, *, is_maximized: bool) -> Outcome:
        """Return how this side is beside the reference."""
        if not self.is_tested:
            return "untested"
        if not self.is_decided:
            return "tied"
        return "better" if (self.direction > 0) == is_maximized else "worse"

    @property
    def _is_called(self) -> bool:
        if self.p_adjusted is not None and self.p_adjusted >= SIGNIFICANT:
            return False
        if isinstance(self.interval, str):
            return self.p_adjusted is not None
        return self.interval[0] > 0 or self.interval[1] < 0

    def public(self) -> dict[str, Any]:
        """Return it as data for programs: what is refused is null, and `refused` has the reasons."""
        values = asdict(self)
        refused = {name: values[name] for name in _MAY_BE_REFUSED if isinstance(values[name], str)}
        interval = None if isinstance(self.interval, str) else list(self.interval)
        nothing = dict.fromkeys(refused)
        return {**values, "interval": interval, **nothing, "is_decided": self.is_decided, "refused": refused}


@dataclass(frozen=True)
class Tested:
    """Results of testing sides: by the place of each, how it compares with the reference.

    Attributes:
        correction: of the p-values, by its name and the number of comparisons; empty if there are none.
        by_samples: True if an interval is over the samples of the evaluation data too.
    """

    against: dict[int, Against]
    correction: str
    by_samples: bool


@dataclass(frozen=True)
class Method:
    """The test that compares sides, and its settings.

    Attributes:
        share: of folds, the size of the validation data divided by that of the training data; None if not known.
        test: `auto`, `permutation`, `bayes` or `aso`.
        region: of `bayes`, the difference that does not matter.
        metrics: how many metrics the sides are compared by: p-values are multiplied by that, as Bonferroni does.
    """

    is_maximized: bool
    share: float | None = None
    test: Test = "auto"
    region: float = 0.0
    metrics: int = 1

    def tested(self, scored: Sequence[Scores], reference: int, *, with_all: bool) -> Tested:
        """Compare the reference with all others; with `with_all`, each with each, as it was chosen by its results."""
        from lighter.results.statistics.corrections import holm

        others = [at for at in range(len(scored)) if at != reference]
        among_others = list(combinations(others, 2)) if with_all else []
        is_holm = len(scored) <= _MOST_WITH_HOLM
        pairs = [(at, reference) for at in others] + (among_others if is_holm else [])
        effects = {(one, other): self._effect(scored[one], scored[other]) for one, other in pairs}
        p_values = {pair: each.p_value for pair, each in effects.items() if isinstance(each.p_value, float)}
        count = len(p_values) if is_holm else len(others) + len(among_others)
        corrected = holm(list(p_values.values())) if is_holm else [each * count for each in p_values.values()]
        adjusted = {pair: min(each * self.metrics, 1.0) for pair, each in zip(p_values, corrected, strict=True)}
        against = {}
        for at in others:
            also = self._also(scored[at], scored[reference])
            against[at] = _against(effects[at, reference], adjusted.get((at, reference)), scored[reference].name, also)
        by_samples = any("samples" in each.sampled for each in effects.values())
        name = "Holm's" if is_holm else "Bonferroni's"
        correction = f"{name} correction for {count} comparison{'s' * (count != 1)}" if count else ""
        return Tested(against, correction, by_samples)

    def _effect(self, one: Scores, other: Scores) -> Effect:
        from lighter.results.statistics.effect import effect

        test: Literal["auto", "permutation"] = "permutation" if self.test == "permutation" else "auto"
        return effect(one, other, is_maximized=self.is_maximized, test=test, share=self.share)

    def _also(self, one: Scores, other: Scores) -> str:
        """Return what another test says of one side beside the other, as a sentence."""
        from lighter.results.other_tests import bayes, stochastic_order

        if self.test == "bayes":
            return bayes(one, other, is_maximized=self.is_maximized, region=self.region, share=self.share)
        return stochastic_order(one, other, is_maximized=self.is_maximized) if self.test == "aso" else ""


def _against(effect: Effect, adjusted: float | None, reference: str, also: str) -> Against:
    from lighter.results.statistics.scores import Refusal

    def told(value: T | Refusal) -> T | str:
        return value.reason if isinstance(value, Refusal) else value

    return Against(
        reference,
        effect.difference,
        effect.mean_difference,
        told(effect.interval),
        told(effect.p_value),
        adjusted,
        told(effect.probability_better),
        effect.test,
        effect.method,
        effect.pairing,
        effect.pairs,
        told(effect.more_members_needed),
        also,
    )
