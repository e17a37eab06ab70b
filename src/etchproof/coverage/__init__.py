"""Coverage: of code (Verilator's counters), of function (covergroups), of the mask's bits (docs/coverage.md)."""
