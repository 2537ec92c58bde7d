"""Command of `mlflow run . -e pretrain_only`."""

from ppi_train.cli import mode_command

main = mode_command("pretrain_only")

if __name__ == "__main__":
    main()
