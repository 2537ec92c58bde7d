"""Command of `mlflow run . -e import_embeddings`."""

from ppi_train.cli import mode_command

main = mode_command("import_embeddings")

if __name__ == "__main__":
    main()
