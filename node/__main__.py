"""`python -m node` is `intentcast`."""

import sys

from .cli import main

sys.exit(main())
