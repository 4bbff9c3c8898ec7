"""Records of evaluations for reports: per-class results, curves, residuals, sample sheets, logged pictures."""
