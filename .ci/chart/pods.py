"""Rules for the pods that the chart makes: Pod Security Standards' "restricted", and that a pod is
given the time that its configuration asks for."""

import re
import tomllib

import yaml

UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}


def specs(manifests):
    """Every pod's name and spec."""
    for manifest in manifests:
        if manifest["kind"] == "Pod":
            yield manifest["metadata"]["name"], manifest["spec"]
        elif manifest["kind"] == "Deployment":
            yield manifest["metadata"]["name"], manifest["spec"]["template"]["spec"]


def patches(manifests):
    """The patches for Dify's Deployment."""
    for manifest in manifests:
        if manifest["kind"] == "ConfigMap" and "patch.yaml" in manifest["data"]:
            yield yaml.safe_load(manifest["data"]["patch.yaml"])


def patched(manifests):
    """A Deployment such as Dify's with the patch in it."""
    for patch in patches(manifests):
        labels = {"app": "dify-api"}
        template = patch["spec"]["template"]
        api = {"name": "api", "image": "dify-api:1"}
        yield {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "dify-api"},
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels, **template["metadata"]},
                    "spec": {"containers": [api], **template["spec"]},
                },
            },
        }


def gateways(manifests):
    """The containers that serve."""
    for _, spec in specs([*manifests, *patched(manifests)]):
        for container in spec.get("initContainers", []) + spec["containers"]:
            if container.get("args", [""])[0] == "serve":
                yield container


def restricted(name, pod, container):
    """What keeps a container from being admitted where "restricted" is enforced."""
    own = container.get("securityContext", {})
    effective = {**pod.get("securityContext", {}), **own}
    rules = {
        "allowPrivilegeEscalation is false": own.get("allowPrivilegeEscalation") is False,
        "all capabilities are dropped": own.get("capabilities", {}).get("drop") == ["ALL"],
        "it does not run as root": effective.get("runAsNonRoot") is True and effective.get("runAsUser", 0) > 0,
        "seccomp is on": effective.get("seccompProfile", {}).get("type") == "RuntimeDefault",
        "its file system is read-only": own.get("readOnlyRootFilesystem") is True,
        "its memory is limited": "memory" in container.get("resources", {}).get("limits", {}),
    }
    return [f"{name}/{container['name']}: not so: {rule}" for rule, holds in rules.items() if not holds]


def grace_problems(manifests):
    """The grace period leaves room for preStop and for what the configuration drains."""
    config = next(m["data"]["config.toml"] for m in manifests if "config.toml" in m.get("data", {}))
    drain = tomllib.loads(config).get("server", {}).get("shutdown_grace", "25s")
    count, unit = re.fullmatch(r"(\d+)(\D+)", drain).groups()
    found = []
    for name, spec in specs([*manifests, *patched(manifests)]):
        for container in spec.get("initContainers", []) + spec["containers"]:
            if container.get("args", [""])[0] != "serve":
                continue
            needed = container["lifecycle"]["preStop"]["sleep"]["seconds"] + int(count) * UNITS[unit]
            if not spec["terminationGracePeriodSeconds"] > needed:
                found.append(f"{name}: {spec['terminationGracePeriodSeconds']} s of grace, {needed} s needed")
    return found


def problems(manifests):
    found = grace_problems(manifests)
    for name, spec in specs(manifests):
        if spec.get("automountServiceAccountToken") is not False:
            found.append(f"{name}: a service account's token is mounted")
        if spec.get("enableServiceLinks") is not False:
            found.append(f"{name}: the addresses of Services get into the environment")
        for container in spec["containers"]:
            found += restricted(name, spec, container)
    for deployment in patched(manifests):
        for container in deployment["spec"]["template"]["spec"]["initContainers"]:
            found += restricted("sidecar", {}, container)
    if not any(gateways(manifests)):
        found.append("no container runs the gateway")
    return found
