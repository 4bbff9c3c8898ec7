"""The language server, `lighter lsp`: the check of a config in the editor, as one types.

server      the protocol: what an editor asks, in pygls's terms
documents   open texts, the configs that they belong to, and their problems in the order of `lighter check`
layers      which files are configs, and what is said of a file that is one layer of a config
places      problems and values as ranges of a text, columns counted as the client does
cursor      what is typed at the cursor, in a text that is no YAML yet
completion  what may stand there
names       modules, classes and functions of Python, read from their sources without importing them
schema_at   the part of a config's schema that describes a place
hovers      what is known of the value at the cursor, and where it is defined
renames     all that names a path, and another name for it
worker      a process that imports targets, replaced when user code changes or ends it
gate        refuses imports from the workspace until its user trusts it
worker_link the server's side of the worker

Only the worker imports torch and user code; the server itself imports neither.
"""
