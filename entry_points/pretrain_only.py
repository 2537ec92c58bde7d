"""Command of `mlflow run . -e pretrain_only`."""

from entry_points.command import mode_command

main = mode_command("pretrain_only")

if __name__ == "__main__":
    main()
