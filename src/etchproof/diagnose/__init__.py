"""Why a run failed: the units whose output does not follow from their own input, and what explains it."""
