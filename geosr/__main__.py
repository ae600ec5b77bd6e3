"""`python -m geosr` is `geosr`."""

from geosr.cli.main import main

main()
