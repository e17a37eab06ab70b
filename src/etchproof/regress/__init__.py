"""Regressions: a list of tests x seeds x recipes x shapes, run as pytest items side by side (docs/regression.md)."""
