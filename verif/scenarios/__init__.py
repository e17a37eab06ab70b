"""What the tests do, as data: drawn from a seed, played on the ports, and turned into what the chip has to answer."""
