"""Names and records that the engine and a project share."""
