"""What a run has shown: bits of the ROM, covergroups, and weights for the corners of the arithmetic."""
