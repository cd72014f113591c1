"""`python -m stsd`, the same as `stsd`."""

import sys

from stsd.cli import main

sys.exit(main())
