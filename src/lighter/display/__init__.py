"""Tables and texts as plain values, drawn for a terminal, a notebook, Markdown, LaTeX and CSV.

table     a table, a heading, a line: what is shown, without how
fit       a table cut to a width: columns are left out or cut by importance, and no number is broken
terminal  pieces -> a console
html      pieces -> HTML for notebooks
markup    tables -> Markdown, LaTeX, CSV
"""
