"""Only what the peers warn about when they are imported is let through."""
