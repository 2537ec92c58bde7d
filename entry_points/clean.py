"""Command of `mlflow run . -e clean`."""

from ppi_train.cli import mode_command

main = mode_command("clean")

if __name__ == "__main__":
    main()
