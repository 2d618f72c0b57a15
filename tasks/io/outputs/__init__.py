"""The layout of each output: paths, reading, publishing."""
