"""The versions of Lightning that Lighter was tested with; on others nothing of ours is installed in a trainer."""

from __future__ import annotations

import re

import pytorch_lightning

TESTED = ">=2.6.6,<2.7"  # as in pyproject.toml; a test compares them
FIRST, END = (2, 6, 6), (2, 7, 0)


def lightning_version() -> str:
    """Return the version of the Lightning that is installed."""
    version: str = pytorch_lightning.__version__  # type: ignore[attr-defined]
    return version


def is_tested(version: str) -> bool:
    """Return whether a version of Lightning is within `TESTED`; a pre-release counts as the version it precedes."""
    numbers = [int(number) for number in re.findall(r"\d+", version)[:3]]
    return FIRST <= (*numbers, 0, 0)[:3] < END


IS_TESTED = is_tested(lightning_version())
