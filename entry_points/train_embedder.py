"""Command of `mlflow run . -e train_embedder`."""

from ppi_train.cli import mode_command

main = mode_command("train_embedder")

if __name__ == "__main__":
    main()
