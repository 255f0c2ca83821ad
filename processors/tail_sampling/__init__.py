"""Processor `tail_sampling`: keeps the traces that matter, see `processor`. Light to import, for `jobsight --help`."""
