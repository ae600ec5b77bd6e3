"""The command line: one module per command; only here are click, the environment and printing."""
