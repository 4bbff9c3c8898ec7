"""Writers: what `predict_step` returns, on disk: whole, in order, once, and readable after a crash."""
