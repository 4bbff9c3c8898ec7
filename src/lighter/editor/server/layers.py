"""Recognize configs of Lighter, and select the problems of a file that is only one layer of a config.

Other YAML is never marked. A layer, a base or a file of changes, has no module of its own: what it lacks, or refers to,
may be in the files that it is merged with. So of a layer, nothing is said that another file could put right.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from lighter.config.check.other_tools import OF_TRAINER
from lighter.config.check.sections import SECTIONS
from lighter.config.problems import Problem
from lighter.config.tree import Node, is_target

_TOP_KEY = re.compile(r"^(?P<quote>['\"]?)(?P<key>[=~]?[\w.-]+(?:::[\w-]+)*)(?P=quote)[ \t]*:(?=\s|$)", re.MULTILINE)
_TARGET = re.compile(r"(?:^|[\s{,'\"])_target_['\"]?[ \t]*:(?=\s|$)", re.MULTILINE)
_OF_OTHER_TOOLS = re.compile(
    r"^(?:defaults|seed_everything|__base__|hydra)[ \t]*:|(?:^|[\s{,])class_path[ \t]*:", re.MULTILINE
)
_TRAINER = re.compile(r"^trainer[ \t]*:[ \t]*(?:\{|\n)(?P<text>(?:.*\}|(?:[ \t]+.*\n?)+))", re.MULTILINE)
_KEY = re.compile(r"(?:^|[\s{,])[=~]?(\w+)[ \t]*:(?=\s|$)", re.MULTILINE)
# What another layer could put right.
_MAY_BE_ELSEWHERE = re.compile(
    r"refers to nothing$|^there is no model$|^there is nothing here to|^there is no item|^this is a list: its items"
    r"|cannot be found inside|uses the unknown name|is not there to be deleted|without `_target_`|says which module"
    r"|^`split` cuts the dataset|goes up beyond the top|^this file is empty$|No module named 'project'$"
    r"|is missing$|are missing$"
)


def is_config(text: str) -> bool:
    """Return whether a YAML text, finished or not, is a config of Lighter or a layer of one."""
    keys = [match["key"].lstrip("=~") for match in _TOP_KEY.finditer(text)]
    has_section = any(key.partition("::")[0] in SECTIONS for key in keys)
    if "_base_" in keys or any("::" in key and key.partition("::")[0] in SECTIONS for key in keys):
        return True
    if _OF_OTHER_TOOLS.search(text) and "_imports_" not in keys:
        return False
    if has_section and (_TARGET.search(text) or "_imports_" in keys):
        return True
    trainer = _TRAINER.search(text)
    are_sections = all(key in SECTIONS or key.startswith(("x-", ".")) for key in keys)
    return trainer is not None and are_sections and not {*OF_TRAINER}.isdisjoint(_KEY.findall(trainer["text"]))


def is_layer(merged: Node) -> bool:
    """Return whether a file with its bases defines no module, and so is meant to be merged with others."""
    modules = [merged.value[key] for key in ("model", "system") if key in merged.value]
    if any(is_target(node.value) or not isinstance(node.value, (dict, type(None))) for node in modules):
        return False
    data, trainer = (merged.child(key) for key in ("data", "trainer"))
    return not (data is not None and trainer is not None and is_target(data.value))


def sayable(problems: Iterable[Problem], merged: Node | None) -> list[Problem]:
    """Return the problems of a file without those that, in a layer, another file may put right."""
    if merged is None or not is_layer(merged):
        return list(problems)
    return [problem for problem in problems if not _MAY_BE_ELSEWHERE.search(problem.message)]
