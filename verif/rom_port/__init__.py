"""The ROM test port: the mask read back. Its transactor, its C++, its agent, and what the files say it must answer."""
