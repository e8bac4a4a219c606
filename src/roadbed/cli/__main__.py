"""`python -m roadbed.cli`: the same command where no script is installed."""

from roadbed.cli import main

main()
