"""Checks the chart in helm/: lints and renders it with Helm's own library over helm/ci, validates
what comes out, and has the built gateway load the configuration. Usage: check.py DIFYGATE"""

import json
import pathlib
import re
import subprocess
import sys
import tempfile

import helm_python as helm
import jsonschema
import kubernetes_validate
import yaml

import pods
import references

CHART = pathlib.Path("helm")
KUBERNETES = ["1.30", "1.34", "1.37"]
LINT_WARNING = 2
CUSTOM = json.loads(pathlib.Path(__file__).with_name("custom-resources.json").read_text())


def cases():
    """The defaults, and every file of values in helm/ci."""
    yield "defaults", {}
    for path in sorted((CHART / "ci").glob("*-values.yaml")):
        yield path.name, yaml.safe_load(path.read_text())


def problems_of(manifest):
    """What the schemas say against a manifest, for each version of Kubernetes."""
    kind = f"{manifest['apiVersion']} {manifest['kind']}"
    if kind in CUSTOM:
        validator = jsonschema.Draft7Validator(CUSTOM[kind])
        return [f"{kind}: {error.json_path}: {error.message}" for error in validator.iter_errors(manifest["spec"])]
    found = []
    for version in KUBERNETES:
        try:
            kubernetes_validate.validate(manifest, version, strict=True)
        except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
            found.append(f"{kind}, Kubernetes {version}: {error}")
    return found


def loads(difygate, manifests):
    """Has the gateway load the configuration as its container would."""
    config = next(m for m in manifests if m["kind"] == "ConfigMap" and "config.toml" in m["data"])
    container = next(pods.gateways(manifests))
    # What comes from Secrets and from Dify's own environment is not here: any value will do.
    environment = {"SECRET_KEY": "any", "DB_HOST": "any", "REDIS_HOST": "any"}
    environment |= {entry["name"]: entry.get("value", "any") for entry in container["env"]}
    text = config["data"]["config.toml"]
    with tempfile.TemporaryDirectory() as folder:
        # Files of Secrets are mounted at places that are not here.
        text = text.replace("/run/secrets/", f"{folder}/")
        for path in re.findall(rf'"({re.escape(folder)}/[^"]+)"', text):
            pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
            pathlib.Path(path).write_text("any")
        file = pathlib.Path(folder, "config.toml")
        file.write_text(text)
        checked = subprocess.run(
            [difygate, "check", "--config", str(file)],
            env=environment, capture_output=True, text=True, check=False,
        )
    return [] if checked.returncode == 0 else [f"difygate check: {checked.stderr}{checked.stdout}"]


def rejects(chart):
    """Every file in helm/ci/refused is refused, with the words of its first line."""
    for path in sorted((CHART / "ci" / "refused").glob("*.yaml")):
        text = path.read_text()
        expected = text.splitlines()[0].removeprefix("# expect: ")
        try:
            chart.validate_schema(yaml.safe_load(text))
            chart.render(yaml.safe_load(text), name="dify", namespace="dify")
            yield path.name, ["was not refused"]
        except helm.HelmError as error:
            said = str(error)
            yield path.name, [] if expected in said else [f"expected {expected!r} in: {said}"]


def render(chart, values):
    rendered = chart.render(values, name="dify", namespace="dify")
    texts = [text for path, text in sorted(rendered.items()) if path.endswith(".yaml")]
    return [m for text in texts for m in yaml.safe_load_all(text) if m]


def check(difygate, chart, values):
    report = helm.lint(str(CHART), values, strict=True, kube_version=f"v{KUBERNETES[0]}.0")
    found = [m["error"] for m in report["messages"] if m["severity"] >= LINT_WARNING]
    chart.validate_schema(values)
    manifests = render(chart, values)
    for manifest in manifests:
        found += problems_of(manifest)
    for deployment in pods.patched(manifests):
        found += problems_of(deployment)
    found += pods.problems(manifests)
    found += references.problems(manifests)
    found += loads(difygate, manifests)
    return len(manifests), found


def speaks(chart, config):
    """What the Service says that the gateway speaks."""
    service = next(m for m in render(chart, {"config": config}) if m["kind"] == "Service")
    return service["spec"]["ports"][0]["appProtocol"]


def main(difygate):
    failed, passed = 0, 0
    with helm.Chart.load(str(CHART)) as chart:
        outcomes = [(name, *check(difygate, chart, values)) for name, values in cases()]
        outcomes += [(name, 0, found) for name, found in rejects(chart)]
        tls = '[server.tls]\ncert = "/run/secrets/tls/tls.crt"\nkey = "/run/secrets/tls/tls.key"'
        said = [speaks(chart, config) for config in ("[server]", tls)]
        assert said == ["http", "https"], said
    for name, manifests, found in outcomes:
        print(f"{name}: {manifests} manifests" if manifests else f"{name}: refused", "FAILED" if found else "ok")
        for problem in found:
            print(f"    {problem}")
        failed, passed = failed + bool(found), passed + (not found)
    # The defaults, three sets of values, and at least one refusal: an empty folder is no success.
    assert len(outcomes) > 4, outcomes
    print(f"helm {helm.helm_sdk_version()}, Kubernetes {', '.join(KUBERNETES)}")
    print(f"chart: {passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
