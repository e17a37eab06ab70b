"""Published codes: models whose files hold codes and scales already, which are etched as they are."""
