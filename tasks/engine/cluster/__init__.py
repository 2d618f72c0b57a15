"""Ray session, its capacity, and its failures."""
