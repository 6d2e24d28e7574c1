"""What starts, stops and finds runs: run directories, sweep jobs, the manifest and locks."""
