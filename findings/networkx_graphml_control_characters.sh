#!/usr/bin/env bash
# A network with a control character in a node's name, written as GraphML by networkx and by igraph.
#
# One would guess: a library that writes XML either escapes such a character or refuses it, so that what
# `write_graphml` has written, `read_graphml` reads.
# What happens: XML 1.0 has no way to write a vertical tab, escaped or not. networkx writes it as it is and
# says nothing; its own reader then fails on the file. igraph refuses to write it. Names with such characters
# come out of spreadsheets and PDF tables.
#
# Seen with networkx 3.6.1 and igraph 1.0.0 on Linux.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet networkx==3.6.1 igraph==1.0.0
venv/bin/python - <<'PY'
import xml.etree.ElementTree as ElementTree

import igraph
import networkx

name = "P12345\x0b"
graph = networkx.Graph([(name, "Q67890")])
networkx.write_graphml_xml(graph, "networkx.graphml")
try:
    networkx.read_graphml("networkx.graphml")
except ElementTree.ParseError as error:
    print("networkx wrote it and cannot read it:", error)
else:
    raise SystemExit("changed: networkx reads back what it has written")
try:
    igraph.Graph.DictList([{"name": name}, {"name": "Q67890"}], []).write_graphml("igraph.graphml")
except Exception as error:
    print("igraph refuses to write it:", error)
    assert "control character" in str(error)
else:
    raise SystemExit("changed: igraph writes it")
PY
