"""Command of `mlflow run . -e prepare_data`."""

from ppi_train.cli import mode_command

main = mode_command("prepare_data")

if __name__ == "__main__":
    main()
