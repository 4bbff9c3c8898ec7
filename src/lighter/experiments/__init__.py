"""Experiments: many fits of one config, with different values, seeds and folds, in one folder. No torch here.

section      the config's section `experiment` -> what is asked for
space        the search space: the section `search` -> parameters and constraints, and points of both
parameters   ranges, choices, and subtrees with parameters of their own
constraints  expressions that a point satisfies
overrides    the values of a trial -> words of the command line
search/      the values of the next trial: random, grid, sobol, Optuna
schedule     which trials train on: ASHA, Hyperband, median stopping
trials       trials and their members, as the folders say
member_files read and write member.json
folder       the folder of an experiment: names of files, reading, writing
coordinator  the loop: what to run next, where, until all that was asked for is there
executors/   where members run: processes here, SLURM, Ray
facts        what was asked for, as far as results are concerned
results      means and intervals over members, the order of trials, the best
status       how far an experiment is, from its folder
tables       results and status on a terminal
screen       the same while a sweep runs
handle       the same in Python
"""
