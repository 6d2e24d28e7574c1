"""Starts, stops and finds runs: run directories, sweep jobs, the sweep manifest and locks."""
