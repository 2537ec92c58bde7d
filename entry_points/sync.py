"""Command of `mlflow run . -e sync`."""

from ppi_train.cli import mode_command

main = mode_command("sync")

if __name__ == "__main__":
    main()
