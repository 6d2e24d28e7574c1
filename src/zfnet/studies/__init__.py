"""What analyze.py runs: each takes a net and pictures, measures, and draws a figure of the paper."""
