"""The load port: frames of adapters into SRAM. Its transactor, its C++, its agent, and adapters drawn for tests."""
