"""Measures what a start costs: python tests/benchmarks/startup.py. `import colorlib` and the command line's help.

Each in fresh processes, the median of 15; writes notebooks/results/benchmarks/startup.json.
"""

import json
import subprocess
import sys
import time
from statistics import median

from colorlib.data import disk
from colorlib.scoring import results

IMPORT = "import time; start = time.perf_counter(); import colorlib; print(time.perf_counter() - start)"
LOADED = "import sys, colorlib; print(*({'tensorflow', 'keras'} & set(sys.modules)))"
OUT = "notebooks/results/benchmarks/startup.json"


def output(*arguments):
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True).stdout


def seconds(*arguments):
    start = time.perf_counter()
    output(*arguments)
    return time.perf_counter() - start


def main():
    report = {
        "import colorlib": round(median(float(output("-c", IMPORT)) for _ in range(15)), 4),
        "colorlib --help": round(median(seconds("-m", "colorlib", "-h") for _ in range(15)), 3),
        "heavy modules loaded": output("-c", LOADED).split(),
        "hardware": results.hardware(),
    }
    print(json.dumps(report, indent=2))
    disk.write_json(report, OUT)


if __name__ == "__main__":
    main()
