"""A training, from its plan to its weights, over workers that come and go."""
