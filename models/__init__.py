"""The reference project's models: the quantized golden, its recipes, the checkpoint that ships."""
