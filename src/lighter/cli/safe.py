"""The options of safe mode, as the `SafeMode` that they mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lighter.config.safe import SafeMode

OPTIONS = ("safe", "allow", "allow_file", "allow_root", "allow_project")


def safe_mode(options: Mapping[str, Any]) -> SafeMode | None:
    """What the options of safe mode say; any of them asks for it."""
    given = {key: options[key] for key in OPTIONS if options.get(key)}
    if not given:
        return None
    return SafeMode(
        given.get("allow", ()),
        allow_files=given.get("allow_file", ()),
        roots=given.get("allow_root", ()),
        project=given.get("allow_project"),
    )
