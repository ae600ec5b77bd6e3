"""Nets that tell what changed between two images of one place (task `change`)."""
