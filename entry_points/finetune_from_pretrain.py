"""Command of `mlflow run . -e finetune_from_pretrain`."""

from ppi_train.cli import mode_command

main = mode_command("finetune_from_pretrain")

if __name__ == "__main__":
    main()
