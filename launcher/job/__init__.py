"""What runs inside a job, called by its script: readiness, warm-up, the mocker's ranks."""
