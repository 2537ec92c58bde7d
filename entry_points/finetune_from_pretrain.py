"""Command of `mlflow run . -e finetune_from_pretrain`."""

from entry_points.command import mode_command

main = mode_command("finetune_from_pretrain")

if __name__ == "__main__":
    main()
