"""Lint both charts as Helm does, render them with each set of values below, and hold the result against
Kubernetes' own schemas. Run by `make lint-deploy`, in the environment of `make tools`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import helm_python as helm
import kubernetes_validate
import yaml

CHARTS = Path(__file__).resolve().parent
KUBERNETES = ("1.30", "1.34")
WARNING = 2
_MAIL = {"protocol": "TCP", "port": 587}
_IMAGE = {"repository": "registry.example.org/mammofed", "tag": "0.1.0"}
_MODALITIES = [{"ipBlock": {"cidr": "10.0.0.0/24"}}]
VALUES: Mapping[str, list[dict[str, Any]]] = {
    "mammofed-site": [
        {"image": _IMAGE},
        {
            "image": _IMAGE,
            "invitation": {"secretName": "invitation"},
            "settings": 'device = "cuda"\n',
            "importClaim": "mammograms",
            "storage": {"className": "fast"},
            "resources": {"limits": {"nvidia.com/gpu": 1}},
            "nodeSelector": {"gpu": "yes"},
            "tolerations": [{"key": "gpu", "operator": "Exists"}],
            "imagePullSecrets": [{"name": "house"}],
            "agents": [{"name": "agent", "image": "registry.example.org/agent:1"}],
        },
        {
            "image": _IMAGE,
            "settings": '[dicom_node]\nae_title = "MAMMOFED"\naddress = "0.0.0.0"\n',
            "dicom": {"port": 11112, "from": _MODALITIES, "tokenSecret": "operator"},
        },
        {
            "image": _IMAGE,
            "settings": '[dicom_node]\nae_title = "MAMMOFED"\naddress = "0.0.0.0"\n',
            "dicom": {
                "port": 11112,
                "from": _MODALITIES,
                "service": {"type": "ClusterIP", "annotations": {"example.org/net": "inside"}},
            },
        },
    ],
    "mammofed-coordinator": [
        {"image": _IMAGE, "federation": {"name": "Density study", "host": "coordinator.example.org"}},
        {
            "image": _IMAGE,
            "federation": {"name": "Density study", "host": "10.0.0.7"},
            "service": {"type": "NodePort", "annotations": {"example.org/tcp": "passthrough"}},
            "egress": [
                {"to": [{"ipBlock": {"cidr": "192.0.2.25/32"}}], "ports": [{"protocol": "TCP", "port": 587}]}
            ],
            "metrics": {
                "port": 9480,
                "clientCaSecret": "prometheus-ca",
                "from": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}],
            },
        },
    ],
}

_FEDERATION = VALUES["mammofed-coordinator"][0]
REFUSED: Mapping[str, list[dict[str, Any]]] = {
    "mammofed-site": [
        {},
        {"image": _IMAGE, "settings": "-", "dicom": {"port": 11112}},
        {"image": _IMAGE, "dicom": {"port": 11112, "from": _MODALITIES}},
    ],
    "mammofed-coordinator": [
        {},
        {**_FEDERATION, "metrics": {"port": 9480}},
        {**_FEDERATION, "metrics": {"port": 9480, "clientCaSecret": "prometheus-ca"}},
    ],
}
"""Values that lack something, so that nothing must be rendered of them."""


def faults(name: str) -> Iterator[str]:
    """What is wrong with a chart, line by line."""
    folder = CHARTS / name
    for values in VALUES[name]:
        report = helm.lint(folder, values, strict=True)
        yield from (each["error"] for each in report["messages"] if each["severity"] >= WARNING)
        for content in helm.Chart.load(folder).render(values, name="trial", namespace="study").values():
            for document in yaml.safe_load_all(content):
                yield from _refusals(document)
    for values in REFUSED[name]:
        try:
            helm.Chart.load(folder).render(values, name="trial")
        except helm.HelmError:
            continue
        yield f"it can be rendered with no more than {sorted(values)}"


def _refusals(document: dict[str, Any]) -> Iterator[str]:
    for version in KUBERNETES:
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"{document['kind']}, Kubernetes {version}: {error.message}"


if __name__ == "__main__":
    found = [f"{name}: {fault}" for name in VALUES for fault in faults(name)]
    print("\n".join(found) or f"{len(VALUES)} charts are well")
    sys.exit(bool(found))
