"""A chip behind ports with a handshake (``[host]`` of ``etchproof.toml``): the simulation's top and the tests."""
