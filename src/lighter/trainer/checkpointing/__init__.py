"""How `lighter.Trainer` writes checkpoints and reads them: `io.py` is what Lightning calls."""
