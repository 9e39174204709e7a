"""Whether what one manifest of the chart says of another is so: names, labels and ports."""

import tomllib

import pods


def matches(selector, labels):
    return bool(selector) and all(labels.get(key) == value for key, value in selector.items())


def pod_labels(manifests):
    return [m["spec"]["template"]["metadata"]["labels"] for m in manifests if m["kind"] == "Deployment"]


def ports_of(container):
    return {port["name"]: port["containerPort"] for port in container["ports"]}


def of_kind(manifests, kind):
    return [m for m in manifests if m["kind"] == kind]


def selectors(manifests):
    """Who selects pods: a name, and the labels."""
    for service in of_kind(manifests, "Service"):
        yield f"Service {service['metadata']['name']}", service["spec"]["selector"]
    for kind, key in [("PodDisruptionBudget", "selector"), ("NetworkPolicy", "podSelector"), ("Deployment", "selector")]:
        for manifest in of_kind(manifests, kind):
            yield kind, manifest["spec"][key]["matchLabels"]


def volume_problems(manifests):
    config_maps = {m["metadata"]["name"] for m in of_kind(manifests, "ConfigMap")}
    for name, spec in pods.specs([*manifests, *pods.patched(manifests)]):
        volumes = {volume["name"] for volume in spec["volumes"]}
        for volume in spec["volumes"]:
            wanted = volume.get("configMap", {}).get("name")
            if wanted and wanted not in config_maps:
                yield f"{name}: there is no ConfigMap {wanted}"
        for container in spec.get("initContainers", []) + spec["containers"]:
            for mount in container.get("volumeMounts", []):
                if mount["name"] not in volumes:
                    yield f"{name}: there is no volume {mount['name']}"


def port_problems(manifests, container):
    named = ports_of(container)
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"]:
        port = container[probe]["httpGet"]["port"]
        if port not in named:
            yield f"{probe}: no port {port}"
    for service in of_kind(manifests, "Service"):
        for port in service["spec"]["ports"]:
            if port["targetPort"] not in [*named, *named.values()]:
                yield f"Service {service['metadata']['name']}: no port {port['targetPort']}"
    for policy in of_kind(manifests, "NetworkPolicy"):
        for rule in policy["spec"]["ingress"]:
            if "from" not in rule and any(p["port"] == named["gateway-admin"] for p in rule["ports"]):
                yield "NetworkPolicy: the admin port is open to everybody"
            for port in rule["ports"]:
                if port["port"] not in named.values():
                    yield f"NetworkPolicy: no port {port['port']}"
    config = next(m["data"]["config.toml"] for m in manifests if "config.toml" in m.get("data", {}))
    listen = tomllib.loads(config).get("server", {}).get("listen", ["0.0.0.0:8080"])[0]
    if not listen.endswith(f":{named['gateway']}"):
        yield f"the gateway listens on {listen}, the container's port is {named['gateway']}"
    admin = next(e["value"] for e in container["env"] if e["name"] == "DIFYGATE__ADMIN__LISTEN")
    if not admin.endswith(f":{named['gateway-admin']}"):
        yield f"the admin listener is at {admin}, the container's port is {named['gateway-admin']}"


def backend_problems(manifests):
    services = {m["metadata"]["name"]: m for m in of_kind(manifests, "Service")}
    accounts = {m["metadata"]["name"] for m in of_kind(manifests, "ServiceAccount")} | {"default"}
    for deployment in of_kind(manifests, "Deployment"):
        if deployment["spec"]["template"]["spec"]["serviceAccountName"] not in accounts:
            yield "the Deployment's service account is not there"
    for scaler in of_kind(manifests, "HorizontalPodAutoscaler"):
        scaled = {m["metadata"]["name"]: m for m in of_kind(manifests, "Deployment")}
        target = scaled.get(scaler["spec"]["scaleTargetRef"]["name"])
        if not target or "replicas" in target["spec"]:
            yield "the autoscaler has no Deployment, or one that fixes its replicas"
    for ingress in of_kind(manifests, "Ingress"):
        for rule in ingress["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                backend = path["backend"]["service"]
                ports = [p["name"] for p in services[backend["name"]]["spec"]["ports"]]
                if backend["port"]["name"] not in ports:
                    yield f"Ingress: no port {backend['port']['name']}"
    for route in of_kind(manifests, "HTTPRoute"):
        for backend in (b for rule in route["spec"]["rules"] for b in rule["backendRefs"]):
            if backend["port"] not in [p["port"] for p in services[backend["name"]]["spec"]["ports"]]:
                yield f"HTTPRoute: no port {backend['port']}"
    for monitor in of_kind(manifests, "ServiceMonitor"):
        selected = [s for s in services.values() if matches(monitor["spec"]["selector"]["matchLabels"], s["metadata"]["labels"])]
        ports = [p["name"] for s in selected for p in s["spec"]["ports"]]
        if [e["port"] for e in monitor["spec"]["endpoints"]] != ports:
            yield f"ServiceMonitor: selects {len(selected)} Services with ports {ports}"


def problems(manifests):
    found = [*volume_problems(manifests), *backend_problems(manifests)]
    for container in pods.gateways(manifests):
        found += port_problems(manifests, container)
    for labels in pod_labels(manifests):
        found += [f"{who} selects no pod" for who, selector in selectors(manifests) if not matches(selector, labels)]
    for pod in of_kind(manifests, "Pod"):
        # A pod of `helm test` that a Service selected would be sent requests.
        found += [f"{who} selects the test" for who, s in selectors(manifests) if matches(s, pod["metadata"]["labels"])]
    return found
