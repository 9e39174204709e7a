"""Checks the Grafana dashboard: every query is PromQL (promtool says so, with Grafana's variables
filled in), and no two panels share an id or a place."""

import itertools
import json
import pathlib
import subprocess
import tempfile

import yaml

FILE = pathlib.Path("helm/files/dashboard.json")
VARIABLES = {"$__rate_interval": "5m", "$job": "difygate", "$namespace": ".*", "$instance": ".*"}


def filled_in(query):
    for name, value in VARIABLES.items():
        query = query.replace(name, value)
    assert "$" not in query, f"an unknown variable: {query}"
    return query


def overlap(one, other):
    a, b = one["gridPos"], other["gridPos"]
    return a["x"] < b["x"] + b["w"] and b["x"] < a["x"] + a["w"] and a["y"] < b["y"] + b["h"] and b["y"] < a["y"] + a["h"]


def main():
    panels = json.loads(FILE.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels), "two panels share an id"
    for one, other in itertools.combinations(panels, 2):
        assert not overlap(one, other), f"{one['title']} lies on {other['title']}"
    queries = [target["expr"] for panel in panels for target in panel.get("targets", [])]
    assert len(queries) > 20, queries
    rules = [{"record": f"dashboard:query:{number}", "expr": filled_in(query)} for number, query in enumerate(queries)]
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}, file)
        file.flush()
        subprocess.run(["promtool", "check", "rules", "--lint=none", file.name], check=True, stdout=subprocess.DEVNULL)
    print(f"{FILE}: {len(panels)} panels, {len(queries)} queries ok")


if __name__ == "__main__":
    main()
