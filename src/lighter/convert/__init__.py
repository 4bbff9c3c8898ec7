"""Configs of other tools to ours: a tree of nodes, and the list of what could not be converted.

`conversion.convert(files, kind)` reads the files, and returns the tree with its gaps. Nothing of the project is
imported. A file for each source format, all with the same function: trees and gaps in, one tree out.
"""

KINDS = ("lightning-cli", "hydra", "lighter-0.0", "lighter-0.1")
