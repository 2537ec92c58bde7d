"""Command of `mlflow run . -e sweep`."""

from ppi_train.cli import mode_command

main = mode_command("sweep")

if __name__ == "__main__":
    main()
