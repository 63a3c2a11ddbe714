"""What the processes of a cluster for tests are called."""

COORDINATOR = "coordinator"  # the first; others of its group have a number behind it


def coordinator_names(count: int) -> list[str]:
    """Of so many coordinators."""
    return [COORDINATOR, *(f"{COORDINATOR}{number}" for number in range(2, count + 1))]


def is_coordinator(name: str) -> bool:
    """Whether a process of that name is one."""
    return name.startswith(COORDINATOR)
