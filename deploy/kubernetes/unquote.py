"""Runs a command whose words are quoted for a shell.

For Kubernetes MLflow quotes every word, but the container has no shell that would remove the quotation marks.
"""

import os
import shlex
import sys

words = shlex.split(" ".join(sys.argv[1:]))
os.execvp(words[0], words)
