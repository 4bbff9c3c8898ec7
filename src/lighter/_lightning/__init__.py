"""The only package that imports or reads private names of Lightning, torchmetrics and torch.

It offers them under public names: Lightning's loops as base classes, attributes as typed functions. In this package a
leading underscore always marks a name that is not ours, and `tests/_lightning/test_contracts.py` holds a contract for
each of them, so that a new Lightning fails there, with a sentence, and not in somebody's fit.

Modules that import a private name when they are imported are loaded by what `versions.is_tested` guards. What the
modules and parts of Lighter use on every version (`steps`, `modules`, `signals`, ...) has a public fallback.
"""
