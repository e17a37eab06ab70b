"""The project: its ``etchproof.toml``, and the files that it consists of."""
