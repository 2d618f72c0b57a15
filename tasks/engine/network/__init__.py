"""Network, BatchNorm and losses in TensorFlow."""
