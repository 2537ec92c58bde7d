"""Command of `mlflow run . -e explain`."""

from ppi_train.cli import mode_command

main = mode_command("explain")

if __name__ == "__main__":
    main()
