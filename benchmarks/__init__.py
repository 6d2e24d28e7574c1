"""Every hot path beside a named peer: `python -m benchmarks [NAME ...]`."""
