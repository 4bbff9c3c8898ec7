"""Lighter's commands as tools for agents, by the Model Context Protocol: `lighter mcp`. No torch here.

bounds      the words of an agent, which name nothing outside of the root folder
commands    a command in a process of its own -> its JSON, its messages, its exit code
jobs        trainings in the background, one at a time: started, followed, stopped
supervisor  the process of a job, which ends it when its time is over
budget      how many trainings and hours there are, and what is left of them: kept on the disk
server      the tools
"""
