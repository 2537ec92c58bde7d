"""Command of `mlflow run . -e compare`."""

from ppi_train.cli import mode_command

main = mode_command("compare")

if __name__ == "__main__":
    main()
