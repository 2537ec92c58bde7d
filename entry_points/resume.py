"""Command of `mlflow run . -e resume`."""

from ppi_train.cli import mode_command

main = mode_command("resume")

if __name__ == "__main__":
    main()
