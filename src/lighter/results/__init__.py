"""Results: from runs and experiments to scores, comparisons that hold, and a page. No torch here.

statistics/  intervals, tests and effects on numpy arrays
words        the parts of a word of the command line: name, trial, commas, pattern
sides        what is compared: words of the command line -> runs, experiments, trials
scores       sides and a metric -> one value per member, and per sample where they were recorded
doubts       why two sides cannot be compared as they are: data, code, metric, split, budget
variance     which sources of variance were sampled, and which held fixed
comparison   sides -> the verdict, the table that it stands on, and what it does not cover
views        a comparison as tables: for a terminal, a notebook, Markdown, LaTeX, CSV
checklist    what the NeurIPS checklist asks about error bars and compute
report/      the page
"""
