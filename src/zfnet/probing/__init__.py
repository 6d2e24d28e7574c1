"""What a trained net's features know of other classes: cached features, linear probes, transfer (Tables 4-7)."""
