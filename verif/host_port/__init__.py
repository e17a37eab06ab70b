"""The host port: requests in, answers out. Its transactor, its C++, its agent and the sequences on it."""
