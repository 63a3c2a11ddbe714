"""What all tests share. The cluster of real processes is the fixture `zkv_cluster` that zkv itself brings."""

from hypothesis import HealthCheck, settings

# A busy machine is no fault of the code: no deadline for one example; the suite has its own timeout.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("suite")
