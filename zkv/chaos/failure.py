"""What ends a run before its time."""


class ChaosFailed(Exception):
    """The cluster, or something of the run itself, did not do what it must: a sentence. The run has failed."""
