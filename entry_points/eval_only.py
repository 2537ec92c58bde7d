"""Command of `mlflow run . -e eval_only`."""

from ppi_train.cli import mode_command

main = mode_command("eval_only")

if __name__ == "__main__":
    main()
