"""The first tier of the check: problems of a merged tree, without importing anything that it names.

sections     the top level and the sections of our own
definitions  `_target_` and the other special keys
expressions  what does not compile, names that nobody defines
circles      references that lead back to where they start
unread       overrides that nothing reads
calls        the second tier: what a target, now imported, can be called with
"""

from __future__ import annotations

from lighter.config.check.circles import check_circles
from lighter.config.check.definitions import check_definitions
from lighter.config.check.expressions import check_expressions
from lighter.config.check.sections import check_expanded_sections, check_sections
from lighter.config.check.unread import check_overrides
from lighter.config.defaults import add_run_folder, name_loggers
from lighter.config.problems import Problem
from lighter.config.references import check_references, drop_templates, expand
from lighter.config.split_loaders import add_split_loaders
from lighter.config.tree import Node


def check_shape(merged: Node, problems: list[Problem]) -> Node:
    """Gather what is wrong with a merged tree; returns it with its copies worked out."""
    check_sections(merged, problems)
    expanded = expand(merged, problems)
    # Before the references are checked, since those of templates lead nowhere from where they stand.
    drop_templates(merged, expanded)
    check_expanded_sections(expanded, problems)
    name_loggers(expanded)
    add_run_folder(expanded)
    add_split_loaders(expanded)
    check_references(expanded, problems)
    check_circles(expanded, problems)
    check_definitions(expanded, problems)
    check_expressions(expanded, problems)
    check_overrides(merged, expanded, problems)
    return expanded
