"""Command of `mlflow run . -e explain`."""

from entry_points.command import mode_command

main = mode_command("explain")

if __name__ == "__main__":
    main()
