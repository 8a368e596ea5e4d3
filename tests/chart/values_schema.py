#!/usr/bin/env python3
"""Makes charts/portcullis/values.schema.json from the schema of the configuration, so that the two cannot drift apart:

    portcullis config schema | tests/chart/values_schema.py > charts/portcullis/values.schema.json
"""

import json
import sys

TEXT = {"type": "string"}
COUNT = {"type": "integer", "minimum": 0}
FLAG = {"type": "boolean"}
TEXTS = {"type": "array", "items": TEXT}
BY_NAME = {"type": "object", "additionalProperties": TEXT}
# Kubernetes' own objects: its API server knows them better.
ANYTHING = {"type": "object"}
LIST = {"type": "array"}


def closed(**properties):
    return {"type": "object", "additionalProperties": False, "properties": properties}


def choice(*values):
    return {"enum": list(values)}


def partial(schema):
    """The schema of a part of what `schema` describes: the chart fills in what values leave out, and `serve` asks for the rest."""
    if isinstance(schema, list):
        return [partial(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {key: partial(value) for key, value in schema.items() if not (key == "required" and isinstance(value, list))}


def values_schema(config):
    config = partial(config)
    definitions = config.pop("$defs")
    config.pop("$schema")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Values of the Portcullis chart",
        **closed(
            mode=choice("deployment", "sidecar"),
            nameOverride=TEXT,
            fullnameOverride=TEXT,
            image=closed(
                repository={"type": "string", "minLength": 1},
                tag=TEXT,
                digest={"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"},
                pullPolicy=choice("Always", "IfNotPresent", "Never"),
            ),
            imagePullSecrets=LIST,
            config=config,
            policies=closed(files=BY_NAME, schema=TEXT, entities=TEXT, routes=TEXT, existingConfigMaps=TEXTS),
            redis=closed(existingSecret=TEXT, key={"type": "string", "minLength": 1}),
            secrets={**BY_NAME, "propertyNames": {"pattern": "^[a-z0-9]([-a-z0-9]{0,40}[a-z0-9])?$"}},
            extraVolumes=LIST,
            extraVolumeMounts=LIST,
            extraEnv=LIST,
            logLevel=TEXT,
            serviceAccount=closed(create=FLAG, name=TEXT, annotations=BY_NAME),
            resources=ANYTHING,
            podSecurityContext=ANYTHING,
            containerSecurityContext=ANYTHING,
            terminationGracePeriodSeconds=COUNT,
            preStopSleepSeconds=COUNT,
            workload=choice("Deployment", "DaemonSet"),
            replicaCount=COUNT,
            autoscaling=closed(enabled=FLAG, minReplicas=COUNT, maxReplicas=COUNT, targetCPUUtilizationPercentage=COUNT),
            service=closed(
                type=choice("ClusterIP", "LoadBalancer", "NodePort"),
                annotations=BY_NAME,
                internalTrafficPolicy=choice("", "Local", "Cluster"),
            ),
            podDisruptionBudget=closed(enabled=FLAG, maxUnavailable={"type": ["integer", "string"]}),
            topologySpreadConstraints=LIST,
            networkPolicy=closed(enabled=FLAG, **{"from": LIST}, telemetryFrom=LIST, egress=LIST),
            podAnnotations=BY_NAME,
            podLabels=BY_NAME,
            nodeSelector=BY_NAME,
            tolerations=LIST,
            affinity=ANYTHING,
            priorityClassName=TEXT,
            # Given to every subchart by Helm.
            **{"global": ANYTHING},
        ),
        "$defs": definitions,
    }


if __name__ == "__main__":
    json.dump(values_schema(json.load(sys.stdin)), sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")
