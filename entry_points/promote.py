"""Command of `mlflow run . -e promote`."""

from entry_points.command import mode_command

main = mode_command("promote")

if __name__ == "__main__":
    main()
