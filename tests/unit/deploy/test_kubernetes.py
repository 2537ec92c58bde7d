"""Tests of the manifests for Kubernetes, with its schemas and without a cluster."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import kubernetes_validate
import pytest
import yaml

from ppi_train.config.loading import load_config
from ppi_train.modes import find_mode
from tests.support import ROOT

FILES = ROOT / "deploy/kubernetes"
MANIFESTS = sorted(FILES.glob("*.yaml"))
VERSION = "1.31"
RFC_1123 = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
Manifest = dict[str, Any]


def resources() -> Iterator[Manifest]:
    """All resources; of one that only the Dask operator knows, the pods and services that it makes."""
    for path in MANIFESTS:
        for resource in yaml.safe_load_all(path.read_text()):
            if resource["kind"] != "DaskCluster":
                yield resource
                continue
            name, namespace = resource["metadata"]["name"], resource["metadata"]["namespace"]
            for role, part in resource["spec"].items():
                metadata = {
                    "name": f"{name}-{role}",
                    "namespace": namespace,
                    "labels": {"dask.org/cluster-name": name, "dask.org/component": role},
                }
                yield {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": part["spec"]}
                if "service" in part:
                    service = part["service"]
                    yield {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": service}


def label(resource: Manifest) -> str:
    return f"{resource['kind']}-{resource['metadata']['name']}"


def pod(resource: Manifest) -> Manifest:
    spec: Manifest = resource["spec"]
    return spec if resource["kind"] == "Pod" else spec["template"]["spec"]


RESOURCES = {label(resource): resource for resource in resources()}
PODS = {name: pod(resource) for name, resource in RESOURCES.items() if resource["kind"] in ("Job", "Pod")}
JOB = RESOURCES["Job-ppi-train-nodes"]


@pytest.mark.parametrize("name", RESOURCES)
def test_a_resource_follows_the_schema_to_the_letter(name: str) -> None:
    kubernetes_validate.validate(RESOURCES[name], VERSION, strict=True)


@pytest.mark.parametrize("name", RESOURCES)
def test_names_are_those_of_rfc_1123(name: str) -> None:
    metadata = RESOURCES[name]["metadata"]
    assert RFC_1123.fullmatch(metadata["name"])
    if RESOURCES[name]["kind"] != "Namespace":
        assert metadata["namespace"] == "ppi-train"


@pytest.mark.parametrize("name", PODS)
def test_a_pod_runs_as_the_user_of_the_image_and_can_become_no_other(name: str) -> None:
    security = PODS[name]["securityContext"]
    assert f"USER {security['runAsUser']}" in (ROOT / "Dockerfile").read_text()
    assert security["runAsNonRoot"] is True
    assert PODS[name]["automountServiceAccountToken"] is False
    for container in PODS[name]["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        }


@pytest.mark.parametrize("name", PODS)
def test_what_a_pod_mounts_is_there(name: str) -> None:
    volumes = {volume["name"]: volume for volume in PODS[name]["volumes"]}
    (container,) = PODS[name]["containers"]
    assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes)
    assert container["image"].startswith("registry.example.org/ppi_train:")
    assert volumes["work"] == {"name": "work", "persistentVolumeClaim": {"claimName": "ppi-train-work"}}
    assert "PersistentVolumeClaim-ppi-train-work" in RESOURCES


@pytest.mark.parametrize("service", [name for name in RESOURCES if name.startswith("Service")])
def test_a_service_finds_its_pods(service: str) -> None:
    selector = RESOURCES[service]["spec"]["selector"]
    owners = [
        resource["metadata"].get("labels", {})
        | {"batch.kubernetes.io/job-name": resource["metadata"]["name"]}
        for resource in RESOURCES.values()
        if resource["kind"] in ("Job", "Pod")
    ]
    assert sum(selector.items() <= labels.items() for labels in owners) == 1


@pytest.mark.parametrize("name", ["Job-ppi-train-nodes", "Job-ppi-scan"])
def test_the_mode_of_a_job_takes_its_parameters(name: str) -> None:
    (container,) = PODS[name]["containers"]
    mode, *words = container["args"]
    values = dict(word.removeprefix("--").split("=", 1) for word in words)
    _, warnings = load_config(find_mode(mode).config, values)
    assert warnings == []


def test_the_nodes_of_a_training_find_one_another() -> None:
    """Kubernetes gives a pod of an indexed job the host name `JOB-INDEX`, below the name of its service."""
    spec, job = JOB["spec"], JOB["metadata"]["name"]
    (container,) = PODS["Job-ppi-train-nodes"]["containers"]
    options = dict(word.removeprefix("--").split("=") for word in container["command"] if "=" in word)
    service = RESOURCES[f"Service-{PODS['Job-ppi-train-nodes']['subdomain']}"]
    assert spec["completionMode"] == "Indexed"
    assert str(spec["completions"]) == str(spec["parallelism"]) == options["nnodes"]
    assert options["master-addr"] == f"{job}-0.{service['metadata']['name']}"
    assert service["spec"]["clusterIP"] == "None"
    assert [str(port["port"]) for port in service["spec"]["ports"]] == [options["master-port"]]
    assert options["node-rank"] == "$(NODE_RANK)"
    assert options["nproc-per-node"] == container["resources"]["limits"]["nvidia.com/gpu"]
