"""The coordinator: enrolment, runs, rounds, aggregation and the model registry."""
