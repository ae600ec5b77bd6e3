"""Scoring nets on scenes: `evaluate` runs the `protocols` and gathers scores; `submission`
packs results for the Proba-V challenge."""
