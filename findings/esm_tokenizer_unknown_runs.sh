#!/usr/bin/env bash
# The ESM-2 tokenizer of transformers on a soft-masked sequence, as maskers of low complexity write it.
#
# One would guess: a tokenizer of one token a residue gives L tokens for L residues; a letter it does not know
# becomes `<unk>`, or is refused, or is read in upper case.
# What happens: letters that it does not know are not split: a whole stretch of them is ONE `<unk>`. A stretch in
# lower case (soft-masked, low complexity) or of two or more J shortens the sequence without a word: all
# residues after it have the states of other positions, contact maps and per-residue labels shift, and a
# sequence that is all in lower case is a single token.
#
# Seen with transformers 5.24.0 on Linux.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet transformers==5.24.0
venv/bin/python - <<'PY'
from pathlib import Path

import transformers

# The vocabulary that is published with ESM-2.
letters = "L A G V S E R T I D P K Q N F Y M H W C X B U Z O . -".split()
Path("vocab.txt").write_text("\n".join(["<cls>", "<pad>", "<eos>", "<unk>", *letters, "<null_1>", "<mask>"]))
tokenizer = transformers.EsmTokenizer("vocab.txt")
seen = {}
for sequence in ("MKTAYIAKQR", "MKTayiaKQR", "MKTJJJJKQR", "mktayiakqr"):
    tokens = tokenizer.convert_ids_to_tokens(tokenizer(sequence)["input_ids"])[1:-1]
    seen[sequence] = len(tokens)
    print(f"{sequence}: {len(sequence)} residues, {len(tokens)} tokens: {' '.join(tokens)}")
expected = {"MKTAYIAKQR": 10, "MKTayiaKQR": 7, "MKTJJJJKQR": 7, "mktayiakqr": 1}
assert seen == expected, f"changed: {seen}"
print("transformers", transformers.__version__)
PY
