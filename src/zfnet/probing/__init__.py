"""Linear probes on frozen features of a trained net, and transfer to other data (Tables 4-7)."""
