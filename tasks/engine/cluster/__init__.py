"""Cluster: Ray session, capacity and failures."""
