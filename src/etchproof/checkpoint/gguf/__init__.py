"""A GGUF file as a checkpoint: its architecture, its weights as they were published, its tokenizer and template."""
