"""Command of `mlflow run . -e sync`."""

from entry_points.command import mode_command

main = mode_command("sync")

if __name__ == "__main__":
    main()
