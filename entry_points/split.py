"""Command of `mlflow run . -e split`."""

from entry_points.command import mode_command

main = mode_command("split")

if __name__ == "__main__":
    main()
