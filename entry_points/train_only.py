"""Command of `mlflow run . -e train_only`."""

from entry_points.command import mode_command

main = mode_command("train_only")

if __name__ == "__main__":
    main()
