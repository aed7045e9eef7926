"""What people see while something works: progress, and texts that stay in one line."""

import os
import sys

from tqdm import tqdm


def progress(*arguments, **options):
    """A tqdm bar where somebody looks at it: in a terminal or a notebook, and not in the log of a script."""
    is_seen = sys.stderr.isatty() or "ipykernel" in sys.modules
    return tqdm(*arguments, **({"delay": 2, "disable": not is_seen or "TQDM_DISABLE" in os.environ} | options))


def in_one_line(text):
    """A text for a message: in one line, with what could steer a terminal, as names of files may, made visible."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in " ".join(text.split()))
