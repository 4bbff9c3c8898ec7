"""Write and read the checkpoints of `lighter.Trainer`: Lightning calls `io.py` and `connector.py`."""
