"""Many scans through load, predict and finish."""
