"""The section `parallel` of a config: one network on several processes, by FSDP2 and tensor parallelism.

`settings.py` reads the section, `names.py` finds the modules that its patterns name, `sharding.py` and
`tensor_styles.py` apply it to a module, and `strategy.py` is Lightning's strategy that does so at the right moment.
"""
