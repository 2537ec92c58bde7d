"""Command of `mlflow run . -e train_only`."""

from ppi_train.cli import mode_command

main = mode_command("train_only")

if __name__ == "__main__":
    main()
