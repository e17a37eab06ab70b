"""One run: what is asked for, its stages, its folder and its record."""
