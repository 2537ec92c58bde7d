"""Command of `mlflow run .`, the main entry point."""

from entry_points.command import mode_command

main = mode_command("main")

if __name__ == "__main__":
    main()
