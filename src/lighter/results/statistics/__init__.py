"""Statistics of scores: plain functions on numpy arrays, without files and without torch.

`effect.py` compares two sides and is what other packages use; the other modules hold the methods, each with its source.
"""
