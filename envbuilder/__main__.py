"""Run the command line: `python -m envbuilder`."""

from envbuilder.cli import main

raise SystemExit(main())
