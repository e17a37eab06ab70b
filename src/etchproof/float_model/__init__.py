"""The model in floating point, which quantizing starts from and is measured against."""
