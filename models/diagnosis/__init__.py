"""The units of this chip and what may be wrong with each, for a diagnosis (docs/diagnose.md)."""
