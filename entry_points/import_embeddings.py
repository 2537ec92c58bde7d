"""Command of `mlflow run . -e import_embeddings`."""

from entry_points.command import mode_command

main = mode_command("import_embeddings")

if __name__ == "__main__":
    main()
