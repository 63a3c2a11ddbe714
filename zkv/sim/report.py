"""What came of a run, for people and for programs."""

from dataclasses import asdict, dataclass, field
from typing import Literal

Result = Literal["passed", "failed", "unknown"]


@dataclass(slots=True)
class Report:
    """One run. `unknown`: a checker ran out of its budget, which is no pass."""

    seed: int
    result: Result = "passed"
    failures: list[str] = field(default_factory=list)
    trace: str = ""  # equal for equal runs
    kinds: list[str] = field(default_factory=list)  # of fault that the seed uses
    faults: dict[str, int] = field(default_factory=dict)  # strikes by kind
    strikes: list[str] = field(default_factory=list)  # each: its kind, and its number among those of the kind
    weather: str = ""
    simulated_ms: int = 0
    healed_ms: int = 0  # from the end of faults until all was well
    events: int = 0
    frames: int = 0
    leaders: int = 0
    operations: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)

    def fail(self, why: str) -> None:
        """Something that must not be."""
        self.result = "failed"
        self.failures.append(why)

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)

    @property
    def passed(self) -> bool:
        """Whether everything held; `unknown` is no pass."""
        return self.result == "passed"

    def lines(self) -> list[str]:
        """For people."""
        faults = ", ".join(f"{kind} {count}" for kind, count in self.faults.items()) or "none"
        outcomes = ", ".join(f"{kind} {count}" for kind, count in sorted(self.outcomes.items()))
        return [
            f"seed {self.seed}: {self.result}, trace {self.trace}",
            f"  {self.simulated_ms / 1000:.1f} s simulated, {self.events} events, {self.frames} frames, "
            f"{self.leaders} elections, healed {self.healed_ms} ms after the last fault",
            f"  faults: {faults}",
            f"  {self.weather}",
            f"  {self.operations} operations: {outcomes}",
            *(f"  FAILED: {failure}" for failure in self.failures),
        ]
