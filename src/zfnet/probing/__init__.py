"""Linear probes on the frozen features of a trained net, and transfer to other data sets (Tables
4-7)."""
