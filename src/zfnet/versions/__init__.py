"""Names of version 0.1, translated to current names. Removed in version 0.3."""
