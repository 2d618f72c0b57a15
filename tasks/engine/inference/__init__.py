"""Inference: a stream of scans through the stages load, predict and finish."""
