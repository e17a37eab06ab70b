"""What may go wrong before golden model and chip, and in the golden model: ``[qualify] flow`` of ``etchproof.toml``."""
