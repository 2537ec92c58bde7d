"""Command of `mlflow run . -e compare`."""

from entry_points.command import mode_command

main = mode_command("compare")

if __name__ == "__main__":
    main()
