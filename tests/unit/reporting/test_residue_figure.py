from __future__ import annotations

import io

import numpy as np
import pytest

from ppi_train.reporting.figures import residue_weights_figure


@pytest.mark.parametrize("name", ["$\\evil$", "a$b$c", "../../x", "<b>"])
def test_an_accession_is_text_and_no_formula(name: str) -> None:
    figure = residue_weights_figure([name, name], [np.ones(5), np.ones(7)], f"{name} and {name}")
    figure.savefig(io.BytesIO(), format="png")
    assert figure.get_suptitle() == f"{name} and {name}"
