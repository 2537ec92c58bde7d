"""Tests of the files in deploy/, as far as they need no cluster."""
