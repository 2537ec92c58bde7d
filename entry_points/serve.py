"""Command of `mlflow run . -e serve`."""

from ppi_train.cli import mode_command

main = mode_command("serve")

if __name__ == "__main__":
    main()
