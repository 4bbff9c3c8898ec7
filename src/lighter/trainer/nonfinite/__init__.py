"""NaN and Inf handling in losses, gradients and weights."""
