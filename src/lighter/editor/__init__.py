"""A config for editors: a JSON schema of its sections, targets and arguments.

docstrings  the texts of classes and arguments, from docstrings in Google's, NumPy's and reST's style
values      a parameter's annotation as a schema of the values that the check takes for it
calls       a target as a schema of its definitions
sections    our own sections and keys, with their texts
schema      the schema of a config, by path
"""

MADE_BY = "Written by `lighter schema`."
"""The comment that marks a file as a schema written by Lighter."""
