#!/usr/bin/env python3
"""Holds charts/portcullis to what it promises: renders it with Helm's own engine, validates the objects for several versions of
Kubernetes, and has `portcullis check` judge the configuration that came out. Run by the integration tests:

    tests/.venv/bin/python tests/chart/check.py target/debug/portcullis
"""

import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

import helm_python as helm
import kubernetes_validate
import yaml

from values_schema import values_schema

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "charts/portcullis"
EXAMPLE = ROOT / "examples/helm-sidecar"
VERSIONS = ["1.29", "1.31", "1.33", "1.35", "1.37"]
BINARY = sys.argv[1]

POLICIES = {
    "files": {"users.cedar": (ROOT / "policies/fortress/users.cedar").read_text()},
    "schema": (ROOT / "schemas/fortress.cedarschema").read_text(),
    "entities": (ROOT / "policies/fortress/entities.json").read_text(),
    "routes": (ROOT / "policies/fortress/routes.yaml").read_text(),
}
ISSUER = {
    "name": "first-party",
    "kind": "first_party",
    "issuer": ["https://auth.example.com"],
    "jwks": {"url": "https://auth.example.com/.well-known/jwks.json"},
    "audiences": ["cloud-app"],
    "algorithms": ["ES256"],
    "principal": {
        "type": "User",
        "id": "sub",
        "groups": {"claim": "roles", "type": "Role"},
        "attributes": {"user_type": "user_type"},
    },
}
CONFIG = {"policies": {"namespace": "Fortress"}, "issuers": [ISSUER]}
CALLERS = [{"name": "orders", "token_sha256": "0" * 64}]
SIDECAR = {"mode": "sidecar", "policies": POLICIES, "config": {**CONFIG, "upstream": {"url": "http://127.0.0.1:3000"}}}
DEPLOYMENT = {"policies": POLICIES, "config": CONFIG}

# What an Envoy in the same pod is believed: its verified tokens, and the workloads whose certificates it checked.
MESH = {"name": "mesh", "kind": "spiffe", "trust_domains": ["cluster.local"], "principal": {"type": "Mesh::Workload", "id": "spiffe_id"}}
BESIDE_ENVOY = {
    "listen": {"ext_authz_grpc": "127.0.0.1:9191", "telemetry": "0.0.0.0:9180"},
    "ext_authz": {"jwt_authn": {"issuer": "first-party"}},
    "issuers": [ISSUER, MESH],
    "upstream": None,
}
ENVOY_SIDECAR = {**SIDECAR, "policies": {**POLICIES, "schema": POLICIES["schema"] + "\nnamespace Mesh { entity Workload; }\n"}}


def with_config(base, **config):
    return {**base, "config": {**base["config"], **config}}


# What is installed, and what must then be true of the objects: a path into one of them, and the value there.
# A path that ends in `?` must lead nowhere.
RENDERED = [
    ("the defaults", DEPLOYMENT, {
        "Deployment/spec.replicas": 2,
        "Deployment/spec.strategy.rollingUpdate.maxUnavailable": 0,
        "Deployment/spec.template.spec.automountServiceAccountToken": False,
        "Deployment/spec.template.spec.containers.0.securityContext.readOnlyRootFilesystem": True,
        "Deployment/spec.template.spec.containers.0.securityContext.allowPrivilegeEscalation": False,
        "Deployment/spec.template.spec.containers.0.securityContext.capabilities.drop": ["ALL"],
        "Deployment/spec.template.spec.containers.0.securityContext.runAsNonRoot": True,
        "Deployment/spec.template.spec.containers.0.resources.limits.cpu?": None,
        "Deployment/spec.template.spec.containers.0.readinessProbe.httpGet.path": "/readyz",
        "Deployment/spec.template.spec.containers.0.livenessProbe.httpGet.path": "/livez",
        "Deployment/spec.template.spec.topologySpreadConstraints.0.topologyKey": "topology.kubernetes.io/zone",
        "Service/spec.internalTrafficPolicy": "Cluster",
        "Service/spec.ports.0.name": "grpc-ext-authz",
        "PodDisruptionBudget/spec.maxUnavailable": 1,
        "NetworkPolicy/spec.policyTypes": ["Ingress"],
        "ServiceAccount/automountServiceAccountToken": False,
    }),
    ("the quick start", {**yaml.safe_load((ROOT / "examples/helm/values.yaml").read_text()), "policies": POLICIES}, {
        "Service/spec.ports.0.name": "grpc-ext-authz",
    }),
    ("one on each node", {**DEPLOYMENT, "workload": "DaemonSet"}, {
        "DaemonSet/spec.updateStrategy.rollingUpdate.maxUnavailable": 0,
        "Service/spec.internalTrafficPolicy": "Local",
        "PodDisruptionBudget?": None,
    }),
    ("checks kept on their node", {**DEPLOYMENT, "service": {"internalTrafficPolicy": "Local"}}, {
        "Service/spec.internalTrafficPolicy": "Local",
    }),
    ("the decision API for known callers", with_config(DEPLOYMENT, callers=CALLERS), {
        "Service/spec.ports.0.name": "http-decisions",
        "NetworkPolicy/spec.ingress.0.ports.0.port": 8180,
    }),
    ("AWS by IRSA, Redis by a Secret", {
        **DEPLOYMENT,
        "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::123456789012:role/portcullis"}},
        "redis": {"existingSecret": "sessions", "key": "redis-url"},
    }, {
        "Deployment/spec.template.spec.volumes.2.secret.items.0": {"key": "redis-url", "path": "url"},
        "ServiceAccount/metadata.annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::123456789012:role/portcullis"},
    }),
    ("autoscaled, spread, placed", {
        **DEPLOYMENT,
        "autoscaling": {"enabled": True, "maxReplicas": 20},
        "nodeSelector": {"kubernetes.io/arch": "arm64"},
        "tolerations": [{"key": "spot", "operator": "Exists"}],
        "topologySpreadConstraints": [{"maxSkew": 2, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule"}],
        "priorityClassName": "system-cluster-critical",
        "imagePullSecrets": [{"name": "registry"}],
        "image": {"digest": "sha256:" + "a" * 64},
        "networkPolicy": {"egress": [{"ports": [{"port": 443}]}], "from": [{"namespaceSelector": {}}]},
    }, {
        "Deployment/spec.replicas?": None,
        "HorizontalPodAutoscaler/spec.maxReplicas": 20,
        "Deployment/spec.template.spec.containers.0.image": "portcullis@sha256:" + "a" * 64,
        "Deployment/spec.template.spec.topologySpreadConstraints.0.topologyKey": "rack",
        "NetworkPolicy/spec.policyTypes": ["Ingress", "Egress"],
    }),
    ("policies from another ConfigMap", {
        **DEPLOYMENT,
        "policies": {**POLICIES, "files": {}, "existingConfigMaps": ["team-a", "team-b"]},
    }, {
        "Deployment/spec.template.spec.volumes.1.projected.sources.2.configMap.name": "team-b",
    }),
    ("sets of routes", with_config(
        DEPLOYMENT,
        ext_authz={"deadline": "100ms", "route_sets": {"admin": [{"match": "GET /inside", "public": True}]}},
    ), {
        "Service/spec.ports.0.appProtocol": "kubernetes.io/h2c",
    }),
    ("a sidecar that believes the Envoy beside it", with_config(ENVOY_SIDECAR, **BESIDE_ENVOY), {
        "Deployment?": None,
    }),
    ("the same over a Unix socket", with_config(ENVOY_SIDECAR, **{
        **BESIDE_ENVOY, "listen": {"ext_authz_grpc": "unix:/run/portcullis/authz.sock", "telemetry": "0.0.0.0:9180"},
    }), {
        "Service?": None,
    }),
    ("a folder of its own", {
        **DEPLOYMENT,
        "extraVolumes": [{"name": "sockets", "emptyDir": {"medium": "Memory"}}],
        "extraVolumeMounts": [{"name": "sockets", "mountPath": "/run/portcullis"}],
    }, {
        "Deployment/spec.template.spec.volumes.2": {"name": "sockets", "emptyDir": {"medium": "Memory"}},
        "Deployment/spec.template.spec.containers.0.volumeMounts.2.mountPath": "/run/portcullis",
    }),
    ("a sidecar's configuration", SIDECAR, {
        "Deployment?": None,
        "Service?": None,
        "ServiceAccount?": None,
        "NetworkPolicy?": None,
    }),
]

# What is refused, and what is said.
REFUSED = [
    ("a key that is none", {**DEPLOYMENT, "replicas": 3}, "replicas"),
    ("a configuration key that is none", with_config(DEPLOYMENT, fail_open=True), "fail_open"),
    ("a mode that is none", {**DEPLOYMENT, "mode": "library"}, "mode"),
    ("no policies", {"config": CONFIG}, "there are no policies"),
    ("a policy file by another name", {"policies": {"files": {"users.txt": ""}}}, "ends in .cedar"),
    ("probes that reach nobody", with_config(DEPLOYMENT, listen={"telemetry": "127.0.0.1:9180"}), "nothing outside the pod"),
    ("Envoy's token believed from anywhere", with_config(DEPLOYMENT, ext_authz={"jwt_authn": {"issuer": "first-party"}}), "mode: sidecar"),
    ("Envoy's certificate believed from anywhere", with_config(DEPLOYMENT, issuers=[ISSUER, MESH]), "config.issuers[1] takes Envoy's word"),
    ("checks that reach nobody", with_config(DEPLOYMENT, listen={"ext_authz_grpc": "127.0.0.1:9191", "telemetry": "0.0.0.0:9180"}), "nothing outside the pod"),
    ("no telemetry", with_config(DEPLOYMENT, listen={"proxy": "0.0.0.0:8000"}), "config.listen.telemetry is missing"),
    ("a digest that is none", {**DEPLOYMENT, "image": {"digest": "latest"}}, "digest"),
]

failures = []


def fail(case, message):
    failures.append(f"{case}: {message}")


def objects_of(chart, values):
    rendered = helm.Chart.load(str(chart)).render(values, name="rel", namespace="apps")
    texts = [text for path, text in rendered.items() if path.endswith(".yaml")]
    return [document for text in texts for document in yaml.safe_load_all(text) if document]


def at(objects, path):
    kind, _, rest = path.partition("/")
    found = next((o for o in objects if o["kind"] == kind), None)
    for step in filter(None, rest.split(".")):
        if isinstance(found, list):
            found = found[int(step)] if int(step) < len(found) else None
        elif found is not None:
            found = found.get(step)
    return found


def validate(case, objects):
    for version in VERSIONS:
        for document in objects:
            try:
                kubernetes_validate.validate(document, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                fail(case, f"{document['kind']} is no {version} object: {error.message}")


def check_configuration(case, objects):
    """Lays the ConfigMaps out as the kubelet does, and has the product judge what is there."""
    maps = {o["metadata"]["name"].rpartition("-")[2]: o["data"] for o in objects if o["kind"] == "ConfigMap"}
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for name, files in maps.items():
            volume = folder / name
            version = volume / "..2026_01_01_00_00_00.1"
            version.mkdir(parents=True)
            (volume / "..data").symlink_to(version.name)
            for file, text in files.items():
                (version / file).write_text(text.replace("/etc/portcullis", str(folder)))
                (volume / file).symlink_to(pathlib.Path("..data") / file)
        secret = folder / "secrets/redis"
        secret.mkdir(parents=True)
        (secret / "url").write_text("redis://127.0.0.1:6379")
        if not any(file.endswith(".cedar") for file in maps["policies"]):
            (folder / "policies/team-a.cedar").write_text(POLICIES["files"]["users.cedar"])
        configuration = folder / "config/portcullis.yaml"
        run = subprocess.run([BINARY, "check", "-c", configuration], capture_output=True, text=True, timeout=60)
        if run.returncode != 0:
            fail(case, f"`portcullis check` refuses the configuration:\n{run.stdout}{run.stderr}")


def main():
    config_schema = json.loads(subprocess.check_output([BINARY, "config", "schema"], timeout=60))
    if json.loads((CHART / "values.schema.json").read_text()) != values_schema(config_schema):
        fail("values.schema.json", "is out of date; "
             "portcullis config schema | tests/chart/values_schema.py > charts/portcullis/values.schema.json")

    for case, values, expected in RENDERED:
        objects = objects_of(CHART, values)
        validate(case, objects)
        check_configuration(case, objects)
        for path, value in expected.items():
            found = at(objects, path.removesuffix("?"))
            if found != value:
                fail(case, f"{path} is {found!r}, not {value!r}")

    for case, values, message in REFUSED:
        try:
            objects_of(CHART, values)
            fail(case, "is accepted")
        except helm.HelmError as error:
            if message not in str(error):
                fail(case, f"does not say {message!r}: {error}")

    with tempfile.TemporaryDirectory() as folder:
        service = pathlib.Path(folder) / "orders"
        shutil.copytree(EXAMPLE, service)
        shutil.copytree(CHART, service / "charts/portcullis")
        in_mesh = yaml.safe_load((ROOT / "examples/istio/sidecar-values.yaml").read_text())
        for case, values in [("a service with the sidecar, in a mesh", in_mesh), ("a service with the sidecar", None)]:
            objects = objects_of(service, values)
            validate(case, objects)
            check_configuration(case, objects)
        sidecar = at(objects, "Deployment/spec.template.spec.initContainers.0")
        if (sidecar["name"], sidecar["restartPolicy"]) != ("portcullis", "Always"):
            fail("a service with the sidecar", "the sidecar is not one")

    for chart, values in [(CHART, DEPLOYMENT), (CHART, SIDECAR)]:
        for message in helm.lint(str(chart), values, strict=True)["messages"]:
            if message["severity"] > 1:
                fail("helm lint", f"{message['path']}: {message['error']}")

    for failure in failures:
        print(failure, file=sys.stderr)
    print(f"{len(RENDERED) + len(REFUSED) + 2} cases on Kubernetes {', '.join(VERSIONS)}: {len(failures)} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
