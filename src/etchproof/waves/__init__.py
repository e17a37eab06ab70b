"""Waves: the file that a simulator wrote, made whole where it was cut short, and layouts of it for two viewers."""
