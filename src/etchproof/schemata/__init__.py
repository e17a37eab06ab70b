"""Faults in RTL, generic and declared, and sources that hold them all (mutation schemata)."""
