"""Command of `mlflow run . -e audit`."""

from ppi_train.cli import mode_command

main = mode_command("audit")

if __name__ == "__main__":
    main()
