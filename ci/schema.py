#!/usr/bin/python3
"""Check what the control server said in its unit test against docs/control.schema.json.

usage: ci/schema.py TRANSCRIPT

A line of the transcript is {"request", "answer"} or {"event"}. The last lines are '1 passed, 0 failed' for each of: lines as JSON-RPC;
parameters and results by method; events by name; the method table; the metrics as OpenMetrics text.
"""
import json
import sys

import jsonschema
from prometheus_client.openmetrics.parser import text_string_to_metric_families

SCHEMA = "docs/control.schema.json"
TYPES = {"string": "string", "path": "string", "integer": "integer", "boolean": "boolean"}


class Schema:
    def __init__(self):
        with open(SCHEMA, encoding="utf-8") as f:
            self.doc = json.load(f)
        jsonschema.Draft202012Validator.check_schema(self.doc)
        self.defs = self.doc["$defs"]

    def check(self, value, part):
        """Raise unless value fits $defs/PART."""
        doc = {"$schema": self.doc["$schema"], "$defs": self.defs, "$ref": "#/$defs/" + part}
        jsonschema.Draft202012Validator(doc).validate(value)


def check_lines(schema, lines):
    for line in lines:
        for kind in ("request", "answer"):
            if kind in line:
                schema.check(line[kind], kind)
    assert any("error" in line.get("answer", {}) for line in lines), "no refusal was seen"


def check_methods(schema, lines):
    for line in lines:
        if "request" not in line or "result" not in line["answer"]:
            continue
        name = line["request"]["method"]
        schema.check(line["request"].get("params", {}), f"methods/{name}/params")
        schema.check(line["answer"]["result"], f"methods/{name}/result")


def check_events(schema, lines):
    seqs = []
    for line in lines:
        if "event" in line:
            schema.check(line["event"], "notification")
            seqs.append(line["event"]["params"]["seq"])
    assert seqs and seqs == sorted(set(seqs)), "events are missing, repeated or out of order"


def check_table(schema, lines):
    """The program's own table and the schema name the same methods, parameters, types, and what is required."""
    table = next(line["answer"]["result"] for line in lines if "request" in line and line["request"]["method"] == "methods")
    ours = {m["name"]: m["params"] for m in table}
    assert set(ours) == set(schema.defs["methods"]), set(ours) ^ set(schema.defs["methods"])
    for name, params in ours.items():
        said = schema.defs["methods"][name]["params"]
        assert {p["name"] for p in params} == set(said["properties"]), name
        assert {p["name"] for p in params if p["required"]} == set(said.get("required", [])), name
        for p in params:
            assert said["properties"][p["name"]]["type"] == TYPES[p["type"]], (name, p)
    called = {line["request"]["method"] for line in lines if "request" in line}
    assert called == set(ours), set(ours) - called
    with open("docs/CONTROL.md", encoding="utf-8") as f:
        text = f.read()
    for name in list(ours) + list(schema.defs["events"]):
        assert f"`{name}`" in text, f"docs/CONTROL.md says nothing of {name}"


def check_metrics(_, lines):
    seen = 0
    for line in lines:
        if line.get("request", {}).get("method") == "metrics":
            families = {f.name: f for f in text_string_to_metric_families(line["answer"]["result"]["text"])}
            for name, kind in (("skep_state", "stateset"), ("skep_disk_latency_seconds", "histogram"), ("skep_exits", "counter")):
                assert families[name].type == kind, name
            seen += 1
    assert seen, "metrics were not asked for"


def main():
    with open(sys.argv[1], encoding="utf-8") as f:
        lines = [json.loads(line) for line in f]
    passed = failed = 0
    schema = Schema()
    for check in (check_lines, check_methods, check_events, check_table, check_metrics):
        name = check.__name__.replace("check_", "schema/")
        try:
            check(schema, lines)
            passed += 1
            print(f"ok   {name}")
        except (AssertionError, jsonschema.ValidationError, KeyError, ValueError, StopIteration) as e:
            failed += 1
            print(f"FAIL {name}: {str(e)[:2000]}")
    print(f"{passed} passed, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
