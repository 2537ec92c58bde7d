"""Command of `mlflow run . -e rollback`."""

from ppi_train.cli import mode_command

main = mode_command("rollback")

if __name__ == "__main__":
    main()
