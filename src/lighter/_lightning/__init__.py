"""The only package that imports or reads private names of Lightning, torchmetrics and torch.

It offers them under public names: Lightning's loops as base classes, attributes as typed functions. In this package a
leading underscore always marks a name that is not ours, and `tests/_lightning/test_contracts.py` holds a contract for
each of them, so that a new Lightning fails there, with a sentence, and not in somebody's fit.

Modules that import a private name of Lightning's at the top are loaded only where `versions.IS_TESTED`. Those that
modules and parts use on every version (`steps`, `modules`, `prediction`, `callbacks`) have a public fallback.
"""
