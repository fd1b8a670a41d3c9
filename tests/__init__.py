"""The tests of fxa_auth; the folders mirror those of the package."""

from hypothesis import HealthCheck, settings

# How long an example takes says more about the machine than about the code.
settings.register_profile("fxa-auth", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("fxa-auth")
