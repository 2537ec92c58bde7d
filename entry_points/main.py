"""Command of `mlflow run .`, the main entry point."""

from ppi_train.cli import mode_command

main = mode_command("main")

if __name__ == "__main__":
    main()
