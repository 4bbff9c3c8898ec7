"""Tries: is a change of a baseline better? Paired seeds, one pair after the other, until that is decided.

evidence    the sequential test: differences of pairs -> evidence, an interval, whether it can still be decided
levels      how much evidence a try needs, so that of many tries few are kept by chance
ledger      all tries against one baseline: an append-only file in its folder
baseline    a run or an experiment -> the config, the metric and the seeds of a baseline
sides       the configs of both sides, checked
frozen      what an override may not change: all that makes the metric
evaluation  what the config does not say of that: code, files, the content of the validation data, versions
pairs       fits of both sides with the same seeds, as members of two experiments
attempt     one try, from its overrides to its verdict
outcome     the verdict in words and as JSON
"""
