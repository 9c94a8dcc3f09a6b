"""Many runs: planning, execution through papermill, the run folder, aggregation."""
