"""`python -m pipeline` is the `jobsight` command."""

from pipeline.cli import run

run()
