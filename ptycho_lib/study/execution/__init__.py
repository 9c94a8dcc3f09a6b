"""Plan a study and execute its runs: papermill processes, jobs, cluster, display."""
