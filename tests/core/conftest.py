"""Hypothesis without a clock: a busy machine must not fail a test."""

from hypothesis import HealthCheck, settings

settings.register_profile("core", deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("core")
