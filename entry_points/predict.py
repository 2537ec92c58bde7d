"""Command of `mlflow run . -e predict`."""

from ppi_train.cli import mode_command

main = mode_command("predict")

if __name__ == "__main__":
    main()
