"""Sobol search: points that fill the space more evenly than random ones, by a scrambled Sobol sequence.

The direction numbers are those of Joe and Kuo, "Constructing Sobol sequences with better two-dimensional projections"
(2008), the scrambling is that of Burley, "Practical Hash-based Owen Scrambling" (2020). Both are short, and SciPy and
torch, which have them too, are not needed here otherwise.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import lru_cache
from itertools import count

from lighter.experiments.search.base import Search
from lighter.experiments.trials import Trial, Values

_BITS = 32
_MASK = 2**_BITS - 1
# For each dimension after the first: a primitive polynomial, and the initial numbers.
_JOE_KUO = """
3 1|7 1 3|11 1 3 1|13 1 1 1|19 1 1 3 3|25 1 3 5 13|37 1 1 5 5 17|41 1 1 5 5 5|47 1 1 7 11 19|55 1 1 5 1 1|59 1 1 1 3 11
61 1 3 5 5 31|67 1 3 3 9 7 49|91 1 1 1 15 21 21|97 1 3 1 13 27 49|103 1 1 1 15 7 5|109 1 3 1 15 13 25|115 1 1 5 5 19 61
131 1 3 7 11 23 15 103|137 1 3 7 13 13 15 69|143 1 1 3 13 7 35 63|145 1 3 5 9 1 25 53|157 1 3 1 13 9 35 107
167 1 3 1 5 27 61 31|171 1 1 5 11 19 41 61|185 1 3 5 3 3 13 69|191 1 1 7 13 1 19 1|193 1 3 7 5 13 19 59
203 1 1 3 9 25 29 41|211 1 3 5 13 23 1 55|213 1 3 7 3 13 59 17
"""


class SobolSearch(Search):
    """Suggest the points of a Sobol sequence in their order.

    Each parameter has a dimension of its own, whether it exists in a point or not. Those after the 32nd are random.
    In place of a point that the constraints exclude comes the same one of the sequence scrambled otherwise, so that no
    other trial's point changes.
    """

    def next(self, number: int, history: Sequence[Trial]) -> Values | None:
        # The sequence begins with the first trial that does not have the config's own values.
        index = number if self.first is None else number - 1
        scramblings = count()
        return self.first_new(lambda: self._point(index, next(scramblings)), number, history)

    def _point(self, index: int, scrambling: int) -> Values:
        names = [parameter.name for parameter in self.space.dimensions]
        generator = random.Random(f"{self.seed}/sobol/{scrambling}")
        coordinates = [_scrambled(bits, generator.getrandbits(_BITS)) for bits in sobol(index, len(names))]
        places = [(bits + 0.5) / 2**_BITS for bits in coordinates]
        if len(places) < len(names):
            generator = random.Random(f"{self.seed}/sobol/{scrambling}/{index}")
            places += [generator.random() for _ in names[len(places) :]]
        units = dict(zip(names, places, strict=True))
        return self.space.point(lambda parameter: parameter.at(units[parameter.name]))


def sobol(number: int, dimensions: int) -> list[int]:
    """Return the first coordinates of a point of the Sobol sequence, each as the 32 bits after the binary point."""
    chosen = number ^ number >> 1  # in the order of the Gray code, as everyone does
    coordinates = []
    for numbers in _directions()[:dimensions]:
        bits = 0
        for position in range(chosen.bit_length()):
            bits ^= numbers[position] if chosen >> position & 1 else 0
        coordinates.append(bits)
    return coordinates


@lru_cache(maxsize=1)
def _directions() -> list[list[int]]:
    rows = [[int(word) for word in row.split()] for row in _JOE_KUO.replace("\n", "|").split("|") if row]
    first = [1 << _BITS - 1 - position for position in range(_BITS)]
    return [first, *(_of_dimension(polynomial, initial) for polynomial, *initial in rows)]


def _of_dimension(polynomial: int, initial: list[int]) -> list[int]:
    degree = len(initial)
    numbers = [number << _BITS - 1 - position for position, number in enumerate(initial)]
    for position in range(degree, _BITS):
        number = numbers[position - degree] ^ numbers[position - degree] >> degree
        for back in range(1, degree):
            number ^= numbers[position - back] if polynomial >> degree - back & 1 else 0
        numbers.append(number)
    return numbers


def _scrambled(bits: int, seed: int) -> int:
    """Permute the halves of the interval, in each of them its halves, and so on, by a hash of the bits before."""
    bits = _reversed(bits) + seed & _MASK
    for factor in (0x6C50B47C, 0xB82F1E52, 0xC7AFE638, 0x8D22F6E6):
        bits ^= bits * factor & _MASK
    return _reversed(bits)


def _reversed(bits: int) -> int:
    return int(f"{bits:032b}"[::-1], 2)
