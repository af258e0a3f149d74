"""Settings of all unit tests."""

from hypothesis import HealthCheck, settings

# No deadline for an example: the machine may have other work.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")
