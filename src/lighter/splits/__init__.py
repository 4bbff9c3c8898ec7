"""Splits of one dataset into training and validation, by the samples' indices. No loaders are made here.

settings  the section `data::split`, or `folds` of an experiment -> what is asked for; no torch
indices   what is asked for -> the indices of both sides
columns   labels, groups and times of a dataset's samples
contents  hashes of a dataset's samples, where they can be had without loading any
leaks     the same sample or group on both sides, time that runs backwards
"""
