"""A failed run made again: the fewest tokens that still fail, of the whole chip or of one layer alone."""
