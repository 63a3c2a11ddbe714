"""What elasticity must show on real processes, each a command of its own: minutes, not for the suite."""
