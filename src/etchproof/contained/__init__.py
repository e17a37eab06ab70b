"""A child process with limits of time and memory, for code of others that a file can break."""
