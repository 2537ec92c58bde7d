"""Command of `mlflow run . -e promote`."""

from ppi_train.cli import mode_command

main = mode_command("promote")

if __name__ == "__main__":
    main()
