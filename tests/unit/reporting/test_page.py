"""Tests of the report page: self-contained, complete, and escaped.

It needs no other file, works with parts missing, and contains only its own markup.
"""

from __future__ import annotations

import base64
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from ppi_train.evaluation.measure import StratumMetrics
from ppi_train.evaluation.uncertainty import agreement
from ppi_train.reporting.figures import as_svg, roc_figure, thinned
from ppi_train.reporting.network_figure import (
    predicted_network_figure,
    readable_part,
    stress_layout,
    true_network_figure,
)
from ppi_train.reporting.page import Picture, ReportContent, Section, Table, number, render_report
from ppi_train.reporting.sections import (
    evaluation_headline,
    leakage_section,
    metrics_section,
    network_metrics_section,
    strata_section,
)

HOSTILE = "<script>alert('x')</script>\"'><img src=http://evil.example/x onerror=alert(1)>"
METRICS = {"auroc": 0.7, "auroc_ci_low": 0.65, "auroc_ci_high": 0.75, "auprc": 0.6, "mcc": 0.3}
MEASURES = {
    "shared_pairs": 3.0,
    "shared_pairs_share": 0.03,
    "shared_proteins": 0.0,
    "shared_proteins_share": 0.0,
    "c1_pairs": 10.0,
    "c1_pairs_share": 0.1,
    "test_proteins": 50.0,
    "similar_share": 0.2,
    "identity_above_30_share": 0.04,
    "identity_above_40_share": 0.02,
    "identity_above_90_share": 0.0,
    "degree_auroc": 0.64,
    "degree_auprc": 0.55,
    "nearest_auroc": 0.51,
    "nearest_auprc": 0.52,
}


class Page(HTMLParser):
    """Tags with their attributes, and the text of the page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "link", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes another tag"

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def picture() -> Picture:
    values, labels = np.linspace(0, 1, 50), np.arange(50) % 2
    return Picture(svg=as_svg(roc_figure(values, labels, "ROC")), alt="a curve")


def whole(name: str = "my model") -> ReportContent:
    section = Section(
        text=(f"about {name}",), pictures=(picture(),), commands=(f"mlflow run . -P run_id={name}",)
    )
    stratum = StratumMetrics(by=name, name="c1", label=name, pairs=40, positives=10, auroc=0.6)
    return ReportContent(
        kind="Evaluation",
        title=name,
        facts=(("data set", name),),
        headline=evaluation_headline(METRICS, prevalence=0.5, measures=MEASURES),
        differences=section,
        metrics=metrics_section(METRICS, calls=name),
        curves=section,
        calibration=section,
        strata=strata_section([stratum]),
        leakage=leakage_section(MEASURES, train=name, test=name, notes=(name,)),
        networks=section,
        network_metrics=network_metrics_section(
            {name: {"graph_similarity": 0.4}}, function={name: {"complex_recall": 0.5}}, notes=(name,)
        ),
        agreement=section,
        lineage=section,
        made_by=name,
    )


PARTS = ("differences", "metrics", "curves", "calibration", "strata", "leakage", "networks")


def without_parts() -> ReportContent:
    full = whole()
    return ReportContent(kind=full.kind, title=full.title, headline=full.headline)


@pytest.mark.parametrize("content", [whole(), without_parts()])
def test_the_page_needs_nothing_beside_itself(content: ReportContent) -> None:
    text = render_report(content)
    page = Page(text)
    assert not page.open, "a tag is left open"
    loads = {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object", "embed", "base", "form"}
    assert not loads
    for tag, attributes in page.tags:
        assert "href" not in attributes
        assert not any(name.startswith("on") for name in attributes)
        if "src" in attributes:
            assert str(attributes["src"]).startswith("data:image/svg+xml;base64,"), tag
            assert attributes["alt"]
    assert "@import" not in text
    assert "url(" not in text


def test_every_section_that_is_there_is_shown_and_every_missing_one_is_left_out_or_explained() -> None:
    shown = {
        attributes.get("id") for tag, attributes in Page(render_report(whole())).tags if tag == "section"
    }
    assert {*PARTS, "network_metrics", "agreement", "lineage"} <= shown
    bare = ReportContent(
        kind="Evaluation",
        title="bare",
        headline=evaluation_headline({"auroc": 0.5, "auprc": 0.5}, prevalence=0.5),
        leakage="No training pairs were found.",
    )
    page = Page(render_report(bare))
    assert [attributes.get("id") for tag, attributes in page.tags if tag == "section"] == [None, "leakage"]
    assert "No training pairs were found." in page.text


def test_names_from_files_are_text_and_never_markup() -> None:
    page = Page(render_report(whole(HOSTILE)))
    assert "script" not in {tag for tag, _ in page.tags}
    assert all(str(attributes["src"]).startswith("data:") for tag, attributes in page.tags if tag == "img")
    assert page.text.count("<script>alert('x')</script>") >= 10


def test_the_same_content_gives_the_same_page() -> None:
    assert render_report(whole()) == render_report(whole())


def test_what_is_over_a_limit_is_marked_by_word_and_symbol_and_not_by_colour_alone() -> None:
    (table,) = leakage_section(MEASURES, train="train", test="test").tables
    found = {row.cells[0]: (row.level, row.symbol, row.word) for row in table.rows}
    assert found["test pairs that are training pairs"] == ("bad", "✗", "leak")
    assert found["test proteins that are in training"] == ("good", "✓", "fine")
    assert found["AUROC of degree alone"] == ("bad", "✗", "degree bias")
    assert found["AUROC of the nearest training pairs"][0] == "good"
    (forty,) = (level for label, (level, *_) in found.items() if "40%" in label)
    assert forty == "watch"
    page = Page(render_report(replace(whole(), leakage=Section(tables=(table,)))))
    assert "✗ leak" in page.text
    assert any(tag == "tr" and attributes.get("class") == "bad" for tag, attributes in page.tags)


def test_an_audit_without_sequences_says_what_it_lacks() -> None:
    names = ("shared_pairs", "shared_proteins", "c1_pairs")
    counted = {measure: MEASURES[measure] for name in names for measure in (name, f"{name}_share")}
    section = leakage_section(counted, train="train", test="test")
    assert len(section.tables[0].rows) == 3
    assert "no sequences were given" in " ".join(section.text)


def test_the_headline_tells_the_gain_over_the_best_trivial_way() -> None:
    words = " ".join(evaluation_headline(METRICS, prevalence=0.5, measures=MEASURES).sentences)
    assert "70.0 of 100 cases (95% interval 65.0 to 75.0)" in words
    assert "degree in training alone, has an AUPRC of 0.550; the model's gain over it is 0.050" in words
    assert "learned nothing" not in words
    weak = evaluation_headline(METRICS | {"auprc": 0.54}, prevalence=0.5, measures=MEASURES)
    assert "learned nothing" in " ".join(weak.sentences)
    touching = METRICS | {
        "auprc_over_trivial": 0.05,
        "auprc_over_trivial_ci_low": 0.0,
        "auprc_over_trivial_ci_high": 0.1,
    }
    headline = evaluation_headline(touching, prevalence=0.5, measures=MEASURES)
    assert "learned nothing" in " ".join(headline.sentences)
    chance = {"auroc": 0.51, "auroc_ci_low": 0.48, "auroc_ci_high": 0.54, "auprc": 0.5}
    assert "no evidence" in " ".join(evaluation_headline(chance, prevalence=0.5).sentences)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.12345, "0.123"), (0.00042, "0.00042"), (0.0, "0.000"), (float("inf"), "infinite"),
     (float("nan"), "not defined"), (12.34, "12.3"), (5637.4, "5,637"), (-0.25, "-0.250")],
)  # fmt: skip
def test_numbers_keep_what_is_small_and_name_what_is_none(value: float, text: str) -> None:
    assert number(value) == text


def test_a_curve_of_fifty_thousand_points_is_drawn_with_few_that_differ_visibly() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 50_000)
    values = np.clip(0.5 + 0.1 * labels + rng.normal(scale=0.15, size=50_000), 0, 1)
    assert len(as_svg(roc_figure(values, labels, "ROC"))) < 200_000
    x = np.linspace(0, 1, 50_000)
    thin_x, thin_y = thinned(x, x**2)
    assert len(thin_x) < 2500
    assert (thin_x[0], thin_x[-1]) == (0, 1)
    assert np.abs(np.interp(x, thin_x, thin_y) - x**2).max() < 1e-3


def network(size: int = 12) -> tuple[list[str], np.ndarray, np.ndarray]:
    """A ring of true edges, of which every other is called, and chords that are called and false."""
    ring = np.array([(node, (node + 1) % size) for node in range(size)])
    chords = np.array([(node, (node + 3) % size) for node in range(0, size, 2)])
    return [f"P{node}" for node in range(size)], ring, np.concatenate([ring[::2], chords])


def test_true_missed_and_false_edges_are_told_apart() -> None:
    part = readable_part(*network())
    tested = readable_part(*network(), tested=np.array([(0, 1), (0, 11), (3, 3)])).tested
    assert (part.tested, tested) == (12 * 11 / 2, 2)
    assert len(part.names) == 12
    assert (len(part.found), len(part.missed), len(part.false)) == (6, 6, 6)
    names = {frozenset((part.names[a], part.names[b])) for a, b in part.false.tolist()}
    assert frozenset(("P0", "P3")) in names
    true, predicted = (
        as_svg(draw(part)).decode() for draw in (true_network_figure, predicted_network_figure)
    )
    assert true != predicted
    # Dashes for what is missed, dots for what is false: the styles differ, not the colours alone.
    assert "stroke-dasharray" in true
    assert "stroke-dasharray" in predicted


def test_a_hub_does_not_fill_the_picture_and_predictions_do_not_choose_it() -> None:
    hub = np.array([(0, node) for node in range(1, 100)])
    chain = np.array([(node, node + 1) for node in range(1, 99)])
    true = np.concatenate([hub, chain])
    names = [f"P{node:03}" for node in range(100)]
    parts = [readable_part(names, true, called) for called in (true, true[:0])]
    assert len(parts[0].names) == 24
    assert parts[0].names == parts[1].names
    assert np.array_equal(parts[0].places, parts[1].places)
    assert len(parts[0].missed) == len(parts[1].found) == 0


def test_hostile_accessions_are_drawn_as_they_are() -> None:
    names = ["$\\frac{$", "<b>&", "_x", "a" * 99, "$x$", "6"]
    part = readable_part(names, *network(6)[1:])
    svg = as_svg(true_network_figure(part))
    assert b"<b>" not in svg


def test_a_test_set_of_self_interactions_has_no_network_to_draw() -> None:
    part = readable_part(["A", "B"], np.array([(0, 0)]), np.array([(0, 0), (0, 1)]))
    assert part.names == ()


def test_a_layout_keeps_neighbours_near_and_all_within_the_frame() -> None:
    edges = np.array([(node, node + 1) for node in range(9)] + [(10, 11)])
    places = stress_layout(12, edges)
    assert np.abs(places).max() <= 1.0
    steps = np.linalg.norm(places[:9] - places[1:10], axis=1)
    assert steps.max() < np.linalg.norm(places[0] - places[9]) / 3
    assert np.array_equal(places, stress_layout(12, edges))


def test_agreement_of_two_models() -> None:
    labels = np.array([1, 1, 0, 0])
    first = np.array([0.9, 0.8, 0.2, 0.1])
    second = np.array([0.9, 0.3, 0.7, 0.1])
    found = agreement(first, second, labels)
    assert (found.same_calls, found.first_alone, found.second_alone) == (0.5, 0.5, 0.0)
    assert found.rank_correlation == pytest.approx(0.8)
    assert agreement(first, first, labels).rank_correlation == pytest.approx(1.0)
    assert np.isnan(agreement(first, np.full(4, 0.5), labels).rank_correlation)


def test_a_table_with_a_cell_too_few_is_a_fault_of_ours() -> None:
    section = strata_section([])
    with pytest.raises(AssertionError):
        Table(
            caption="x",
            columns=section.tables[0].columns,
            rows=metrics_section(METRICS, calls="").tables[0].rows,
        )


def test_figures_in_the_page_are_the_given_ones() -> None:
    figure = picture()
    page = Page(render_report(replace(whole(), curves=Section(pictures=(figure,)))))
    sources = [str(attributes["src"]) for tag, attributes in page.tags if tag == "img"]
    assert figure.svg in [base64.b64decode(source.partition(",")[2]) for source in sources]
