"""What a run has to do, what it did, and the verdict."""
