"""A seeded fuzzer of every loader of files that others wrote."""
