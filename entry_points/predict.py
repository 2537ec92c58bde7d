"""Command of `mlflow run . -e predict`."""

from entry_points.command import mode_command

main = mode_command("predict")

if __name__ == "__main__":
    main()
