"""Files: read strictly, written whole or not at all (docs/architecture.md, "Files that others wrote")."""
