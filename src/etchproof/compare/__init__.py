"""Arrays compared with arrays, wherever they come from."""
