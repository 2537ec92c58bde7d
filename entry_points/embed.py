"""Command of `mlflow run . -e embed`."""

from ppi_train.cli import mode_command

main = mode_command("embed")

if __name__ == "__main__":
    main()
