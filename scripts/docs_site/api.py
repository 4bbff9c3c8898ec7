"""The page of the Python API: directives that mkdocstrings replaces by docstrings."""

from __future__ import annotations

from importlib import import_module

_BEGIN = """# Python API

What `import lighter` offers. Importing it changes nothing and loads neither torch nor Lightning; the names are resolved
when they are first used. The arguments of what a config names are also in [Keys of a config](reference-config.md).
"""
# In the order of the page.
_MODULES = ("lighter", "lighter.callbacks", "lighter.adapters", "lighter.errors")
_ADAPTERS = ("BatchAdapter", "CriterionAdapter", "MetricsAdapter", "LoggingAdapter")


def page() -> str:
    """Return the page, a heading for each module."""
    sections = [f"## {module}\n\n{''.join(_directives(module))}" for module in _MODULES]
    return "\n".join([_BEGIN, *sections])


def names(module: str) -> list[str]:
    """Return the public names of a module."""
    loaded = import_module(module)
    if module == "lighter.adapters":
        return [*_ADAPTERS]
    if module == "lighter.errors":
        return [
            name for name, value in vars(loaded).items() if isinstance(value, type) and issubclass(value, Exception)
        ]
    return [name for name in loaded.__all__ if not name.startswith("__")]


def _directives(module: str) -> list[str]:
    return [_directive(module, name) for name in names(module)]


def _directive(module: str, name: str) -> str:
    # where its source is: `__module__` of a class may be its public name
    home = getattr(import_module(module), "_HOME", {}).get(name, module)
    options = [f"heading: {module}.{name}", "heading_level: 3"]
    return "\n".join([f"::: {home}.{name}", "    options:", *(f"      {option}" for option in options), "\n"])
