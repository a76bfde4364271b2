"""`python -m isams_pipeline.commands`."""

import sys

from isams_pipeline.commands import main

sys.exit(main())
