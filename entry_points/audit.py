"""Command of `mlflow run . -e audit`."""

from entry_points.command import mode_command

main = mode_command("audit")

if __name__ == "__main__":
    main()
