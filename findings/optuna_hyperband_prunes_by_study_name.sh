#!/usr/bin/env bash
# Which trials Optuna's Hyperband pruner stops, with a seeded sampler and an objective without randomness.
#
# One would guess: the same seed, the same objective and the same pruner stop the same trials, whatever the
# study is called; a study needs no name for that.
# What happens: the pruner puts each trial into one of its brackets by a checksum of the study's name and the
# trial's number, and a bracket decides when its trials may be stopped. Two studies that differ by name alone
# stop different trials. A study that is given no name gets a random one: the same script with the same seed
# stops other trials each time, and so finds other values.
#
# Seen with optuna 5.0.0.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet optuna==5.0.0
cat > stopped.py <<'PY'
import optuna

optuna.logging.set_verbosity(optuna.logging.ERROR)


def stopped(name: str | None) -> list[int]:
    """The numbers of the trials that were stopped, of 30."""
    study = optuna.create_study(
        study_name=name,
        direction="maximize",
        sampler=optuna.samplers.RandomSampler(seed=0),
        pruner=optuna.pruners.HyperbandPruner(min_resource=1, max_resource=9),
    )

    def objective(trial: optuna.Trial) -> float:
        value = trial.suggest_float("value", 0, 1)
        for epoch in range(1, 10):
            trial.report(value * epoch / 9, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
        return value

    study.optimize(objective, n_trials=30)
    return [trial.number for trial in study.trials if trial.state.name == "PRUNED"]


print("optuna", optuna.__version__)
first, again, other = stopped("a"), stopped("a"), stopped("b")
print("study a:      ", first)
print("study a again:", again)
print("study b:      ", other)
unnamed = [stopped(None) for _ in range(5)]
print("different results of five unnamed studies:", len({tuple(numbers) for numbers in unnamed}))
assert first == again
assert first != other
assert len({tuple(numbers) for numbers in unnamed}) > 1
PY
venv/bin/python stopped.py
