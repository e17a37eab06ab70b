"""Qualification: would the bench see a fault? Faults of many kinds, each tried, and what saw it."""
