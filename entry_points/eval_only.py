"""Command of `mlflow run . -e eval_only`."""

from entry_points.command import mode_command

main = mode_command("eval_only")

if __name__ == "__main__":
    main()
