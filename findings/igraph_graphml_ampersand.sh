#!/usr/bin/env bash
# A GraphML file with an ampersand in a node's ID, read by igraph.
#
# One would guess: a reader of XML decodes `&amp;` in an attribute, as it decodes `&lt;` and `&quot;`, so that
# the node `A&B` that networkx has written is `A&B` in igraph too.
# What happens: igraph reads its ID as `A&#38;B`, without an error, and the attribute name `a&b` as `a&#38;b`,
# also in a file that igraph itself has written. The text of elements is decoded. Joined by their IDs, the
# nodes of such a network match nothing in the table that they came from.
#
# Seen with igraph 1.0.0 and networkx 3.6.1 on Linux.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet networkx==3.6.1 igraph==1.0.0
venv/bin/python - <<'PY'
import igraph
import networkx

networkx.write_graphml_xml(networkx.Graph([("A&B", "C<D")]), "network.graphml")
assert set(networkx.read_graphml("network.graphml")) == {"A&B", "C<D"}
names = igraph.Graph.Read_GraphML("network.graphml").vs["id"]
print("igraph reads the nodes A&B and C<D as", " and ".join(names))
if names == ["A&B", "C<D"]:
    raise SystemExit("changed: igraph decodes ampersands in attributes")
assert names == ["A&#38;B", "C<D"]

igraph.Graph(1, vertex_attrs={"a&b": ["value"]}).write_graphml("igraph.graphml")
attributes = igraph.Graph.Read_GraphML("igraph.graphml").vs.attributes()
print("the vertex attribute a&b that it has written itself, as", attributes[0])
assert "a&#38;b" in attributes
PY
