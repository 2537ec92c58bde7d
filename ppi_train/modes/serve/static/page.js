"use strict";
// All text of a request or an answer is set as text, never as markup.
const byId = (id) => document.getElementById(id);
const SHOWN = 500;  // rows; the download has all
const HEAVIEST = 8;  // residues that are also named, for those who cannot see shades
const EXAMPLE = {
  a: ">insulin_A\nGIVEQCCTSICSLYQLENYCN",
  b: ">insulin_B\nFVNQHLCGSHLVEALYLVCGERGFFYTPKT\n>ubiquitin\nMQIFVKTLTGKTITLEVEPSDTIENVKAKIQDKEGIPPDQQRLIFAGKQLEDGRTLSDYNIQKESTLHLVLRLRGG",
};
let downloadUrl = "";

function element(tag, text, className) {
  const made = document.createElement(tag);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

// A name of its own direction: it cannot turn around the text beside it.
function named(tag, name) {
  const made = document.createElement(tag);
  made.append(element("bdi", name));
  return made;
}

function say(text, isError) {
  byId("status").textContent = text;
  byId("status").className = isError ? "error" : "";
}

function showResidues(residues) {
  const place = byId("residues");
  place.replaceChildren();
  if (!residues || !residues.length) return;
  place.append(element("p", "Residues that carried the score: the darker, the more weight.", "quiet"));
  for (const protein of residues) {
    const most = Math.max(...protein.weights, 1e-12);
    const heaviest = protein.weights.map((weight, position) => [weight, position])
      .sort((left, right) => right[0] - left[0] || left[1] - right[1]).slice(0, HEAVIEST)
      .map(([, position]) => `${protein.sequence[position]}${position + 1}`);
    place.append(named("h2", protein.protein), element("p", `Most weight: ${heaviest.join(", ")}`, "quiet"));
    const line = element("p", "", "sequence");
    [...protein.sequence].forEach((letter, position) => {
      const weight = protein.weights[position];
      const span = element("span", letter);
      span.title = `${letter}${position + 1}: ${weight.toPrecision(3)}`;
      span.style.backgroundColor = `rgba(0, 150, 136, ${(0.85 * weight / most).toFixed(3)})`;
      line.append(span);
    });
    place.append(line);
  }
}

function table(pairs) {
  const columns = ["protein_a", "protein_b", "probability", "logit", "uncertainty"];
  // A name cannot hold a tab or a line break: it is a word of a FASTA header.
  return [columns, ...pairs.map((pair) => columns.map((name) => pair[name]))].map((row) => row.join("\t")).join("\n") + "\n";
}

function show(found) {
  const pairs = found.pairs, first = pairs[0];
  byId("single").hidden = pairs.length !== 1;
  byId("probability").textContent = first.probability.toFixed(3);
  byId("range").textContent = `probability of interaction; ${first.low.toFixed(3)} to ${first.high.toFixed(3)} within the model's uncertainty`;
  showResidues(pairs.length === 1 ? found.residues : null);
  byId("rows").replaceChildren(...pairs.slice(0, SHOWN).map((pair) => {
    const row = document.createElement("tr");
    row.append(
      named("td", pair.protein_a), named("td", pair.protein_b),
      element("td", pair.probability.toFixed(4), "number"),
      element("td", `${pair.low.toFixed(3)} – ${pair.high.toFixed(3)}`, "number"),
      element("td", pair.logit.toFixed(3), "number"));
    return row;
  }));
  byId("more").textContent = pairs.length > SHOWN ? `${SHOWN} of ${pairs.length} rows are shown; the file has all.` : "";
  URL.revokeObjectURL(downloadUrl);
  downloadUrl = URL.createObjectURL(new Blob([table(pairs)], { type: "text/tab-separated-values" }));
  byId("download").href = downloadUrl;
  byId("result").hidden = false;
}

async function score(event) {
  event.preventDefault();
  byId("score").disabled = true;
  byId("result").hidden = true;
  say("Scoring …", false);
  try {
    const answer = await fetch("/page/score", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ a: byId("a").value, b: byId("b").value }),
    });
    const found = await answer.json().catch(() => ({}));  // a refusal of the server below has no JSON
    if (!answer.ok) throw new Error(found.error || `status ${answer.status}`);
    show(found);
    say(found.pairs.length === 1 ? "" : `${found.pairs.length} pairs, the most probable first.`, false);
  } catch (error) {
    say(error instanceof TypeError ? "The server does not answer." : error.message, true);
  } finally {
    byId("score").disabled = false;
  }
}

async function about() {
  const model = await (await fetch("/page/about")).json();
  byId("about").textContent = `Model ${model.model}, run ${model.run_id}.`;
  const [proteins, residues, pairs] = [model.most_proteins, model.most_residues, model.most_pairs].map((count) => count.toLocaleString("en"));
  byId("bounds").textContent = `up to ${proteins} proteins of ${residues} residues, ${pairs} pairs`;
  if (model.prevalence) {
    byId("note").textContent = `Probabilities are calibrated for sets in which ${Math.round(100 * model.prevalence)}% of the pairs interact. Among random pairs of a proteome far fewer do: read the order, not the number.`;
  }
}

byId("form").addEventListener("submit", score);
byId("example").addEventListener("click", () => {
  byId("a").value = EXAMPLE.a;
  byId("b").value = EXAMPLE.b;
  byId("score").focus();
});
about().catch(() => say("The server does not answer.", true));
