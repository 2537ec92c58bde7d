"""Command of `mlflow run . -e full_pipeline`."""

from entry_points.command import mode_command

main = mode_command("full_pipeline")

if __name__ == "__main__":
    main()
