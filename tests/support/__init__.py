"""Helpers of the tests: servers, faults, damaged files, plain versions to check against."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
