"""What may go wrong, for ``etchproof qualify``: in the RTL, before golden model and chip, and in the golden model."""
