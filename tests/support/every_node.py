"""Runs a command as a cluster's launcher (``srun``) does on two machines: twice at once, here on one machine.

Ends with 1 if one of them fails.
"""

import subprocess
import sys

if __name__ == "__main__":
    nodes = [subprocess.Popen(sys.argv[1:]) for _ in range(2)]
    sys.exit(int(any([node.wait() for node in nodes])))
