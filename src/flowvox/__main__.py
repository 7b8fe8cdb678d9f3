"""`python -m flowvox` is the flowvox command."""

from flowvox.cli import main

main()
