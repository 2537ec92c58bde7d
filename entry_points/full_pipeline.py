"""Command of `mlflow run . -e full_pipeline`."""

from ppi_train.cli import mode_command

main = mode_command("full_pipeline")

if __name__ == "__main__":
    main()
