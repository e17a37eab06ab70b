"""The checkpoint that ships: a small Llama, the text it learned, the script that trained it."""
