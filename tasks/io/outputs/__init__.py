"""Layouts of the outputs: paths, reading and publishing."""
