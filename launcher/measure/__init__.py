"""What a deployment does, measured: benchmarks, answers compared, metrics. Outside the core; imports stay late."""
