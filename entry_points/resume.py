"""Command of `mlflow run . -e resume`."""

from entry_points.command import mode_command

main = mode_command("resume")

if __name__ == "__main__":
    main()
