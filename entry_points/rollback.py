"""Command of `mlflow run . -e rollback`."""

from entry_points.command import mode_command

main = mode_command("rollback")

if __name__ == "__main__":
    main()
