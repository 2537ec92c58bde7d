"""`python -m ppi_train MODE`, the same as the console command `ppi-train MODE`."""

from ppi_train.cli import main

if __name__ == "__main__":
    main()
