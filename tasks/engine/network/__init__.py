"""The network, its BatchNorm and its losses: TensorFlow."""
