"""Command of `mlflow run . -e split`."""

from ppi_train.cli import mode_command

main = mode_command("split")

if __name__ == "__main__":
    main()
