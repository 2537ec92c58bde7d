"""Command of `mlflow run . -e embed`."""

from entry_points.command import mode_command

main = mode_command("embed")

if __name__ == "__main__":
    main()
