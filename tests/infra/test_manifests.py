"""Every manifest passes its validator and our rules, and a deliberate error in each is caught."""

import re
import tomllib

import pytest
import yaml

from tests.infra.manifests import CHECKS, INFRA, ManifestError, example_environment, interpolated

ROOT = INFRA.parent
ERRORS = [
    ("docker/Dockerfile", "COPY flows/ flows/", "COPPY flows/ flows/"),
    ("docker/Dockerfile", "FROM python:3.11.14-slim-bookworm AS base", "FROM python:latest AS base"),
    ("docker/Dockerfile", 'USER 10001:10001\nCMD ["prefect"', 'CMD ["prefect"'),
    ("docker/Dockerfile", "--require-hashes gpu.lock", "gpu.lock"),
    ("compose/compose.yaml", "condition: service_healthy", "condition: service_alive"),
    ("compose/compose.yaml", '"127.0.0.1:8265:8265"', '"8265:8265"'),
    ("compose/compose.yaml", "${RAY_AUTH_TOKEN:?set RAY_AUTH_TOKEN in .env, openssl rand -hex 32 makes one}", "abc"),
    ("compose/compose.yaml", "LESIONS_SCANS_URI:?", "LESIONS_SCAN_URI:?"),
    ("compose/compose.yaml", "postgres:17.6-bookworm", "postgres:latest"),
    ("compose/compose.yaml", "read_only: true", "readonly: true"),
    ("compose/compose.key.yaml", "/run/secrets/gcs-key", "/run/secrets/gcs-key\n  ports: ['0.0.0.0:1:1']"),
    ("kubernetes/namespace.yaml", "labels:", "lables:"),
    ("kubernetes/network-policy.yaml", "policyTypes: [Egress]", "policyType: [Egress]"),
    ("kubernetes/network-policy.yaml", "port: 8265", "port: [8265]"),
    (
        "kubernetes/network-policy.yaml",
        "    - from:\n        - podSelector:",
        "    - from:\n        - namespaceSelector:",
    ),
    ("kubernetes/prefect-worker.yaml", "livenessProbe:", "liveProbe:"),
    ("kubernetes/prefect-worker.yaml", "verbs: [create, get, list, watch, delete]", 'verbs: ["*"]'),
    ("kubernetes/prefect-worker.yaml", "runAsNonRoot: true", "runAsNonRoot: false"),
    ("kubernetes/raycluster.yaml", "idleTimeoutSeconds: 300", "idleTimeout: 300"),
    ("kubernetes/raycluster.yaml", "minReplicas: 0", 'minReplicas: "none"'),
    ("kubernetes/raycluster.yaml", "containerPort: 8265", "containerPorts: 8265"),
    ("kubernetes/raycluster.yaml", "mode: token", "mode: disabled"),
    ("kubernetes/raycluster.yaml", "serviceType: ClusterIP", "serviceType: LoadBalancer"),
    ("kubernetes/raycluster.yaml", 'num-gpus: "0"', 'num-gpus: "1"'),
    ("kubernetes/raycluster.yaml", 'model_pool.py)\n        num-cpus: "0"', 'that)\n        num-cpus: "3"'),
    ("kubernetes/raycluster.yaml", "drop: [ALL]", "drop: []"),
    ("kubernetes/flow-run-job.json", '"{{ image }}"', '"{{ picture }}"'),
    ("kubernetes/flow-run-job.json", '"backoffLimit"', '"backofLimit"'),
    ("kubernetes/flow-run-job.json", '"type": "object",\n    "description"', '"type": "objekt",\n    "description"'),
    ("kubernetes/flow-run-job.json", '"default": 86400', '"default": "a day"'),
    ("kubernetes/flow-run-job.json", '"parallelism": 1', '"parallelism": 2'),
    ("terraform/main.tf", 'resource "google_storage_bucket" "output" {', 'resource "google_storage_bucket" output {{'),
    ("terraform/main.tf", "versioning {\n    enabled = true", "versioning {\n    enabled = false"),
    ("terraform/main.tf", "uniform_bucket_level_access = true", "uniform_bucket_level_access = false"),
    ("terraform/main.tf", '= "enforced"', '= "inherited"'),
    ("terraform/main.tf", "total_min_node_count = 0", "total_min_node_count = 1"),
    ("terraform/main.tf", "google_service_account.ray.member", "google_service_account.rays.member"),
    ("terraform/outputs.tf", "google_container_cluster.lesions.name", "google_container_cluster.lesion.name"),
    ("terraform/variables.tf", 'variable "region" {', 'variable "regions" {'),
    ("terraform/variables.tf", '  description = "Name of the subnetwork\'s secondary range for pods."\n', ""),
    ("terraform/versions.tf", "required_providers {", "required_providers"),
]


def _text(path: str) -> str:
    return (INFRA / path).read_text()


@pytest.mark.parametrize("path", CHECKS)
def test_a_manifest_is_valid(path: str) -> None:
    """Its validator and our rules have nothing to say against it."""
    CHECKS[path](_text(path))


@pytest.mark.parametrize(("path", "good", "bad"), ERRORS)
def test_an_error_in_a_manifest_is_caught(path: str, good: str, bad: str) -> None:
    """A manifest with one mistake is refused."""
    text = _text(path)
    assert good in text
    with pytest.raises(Exception, match=r".") as caught:  # each validator has a kind of its own
        CHECKS[path](text.replace(good, bad))
    assert not isinstance(caught.value, KeyError | AttributeError | TypeError), "the check itself broke"


def test_no_manifest_is_left_unchecked() -> None:
    """Each file below infra/ that describes infrastructure has a check, and the check an error that it catches."""
    folders = ("docker", "compose", "kubernetes", "terraform")
    suffixes = {".yaml", ".json", ".tf", ""}
    found = {path for folder in folders for path in (INFRA / folder).iterdir() if path.suffix in suffixes}
    assert {str(path.relative_to(INFRA)) for path in found} == CHECKS.keys() == {path for path, *_ in ERRORS}


def test_nodes_that_decode_are_not_given_the_id_key() -> None:
    """The key of hashed ids goes to the head, where the steps' processes are, and to no Ray worker."""
    services = yaml.safe_load(_text("compose/compose.yaml"))["services"]
    assert "LESIONS_ID_KEY" in services["ray-head"]["environment"]
    assert "LESIONS_ID_KEY" not in services["ray-worker"]["environment"]
    spec = next(d["spec"] for d in yaml.safe_load_all(_text("kubernetes/raycluster.yaml")) if d["kind"] == "RayCluster")
    assert "lesions-ids" in str(spec["headGroupSpec"])
    assert "lesions-ids" not in str(spec["workerGroupSpecs"])


@pytest.mark.parametrize("name", ["PREFECT_AUTH_STRING", "POSTGRES_PASSWORD", "RAY_AUTH_TOKEN", "LESIONS_RESULTS_URI"])
def test_compose_refuses_to_start_without(name: str) -> None:
    """A missing secret or place stops everything before it starts, with a sentence that names it."""
    with pytest.raises(ManifestError, match=f"{name}: set {name} in .env"):
        interpolated(_text("compose/compose.yaml"), example_environment() | {name: ""})


def test_the_example_environment_holds_no_secret_and_every_variable() -> None:
    """Each variable of the compose files is explained there, no other is, and those that are secrets are empty."""
    example = dict(re.findall(r"^(\w+)=(.*)$", _text("compose/env.example"), re.MULTILINE))
    used = {name for path in CHECKS if path.startswith("compose/") for name in re.findall(r"\$\{(\w+)", _text(path))}
    assert used == example.keys()
    assert not [
        name for name, value in example.items() if value and not re.search(r"RAY_\w+_|CPUS|STEPS|VERSION", name)
    ]


def test_every_image_has_the_versions_that_were_run_together() -> None:
    """Images run what the tests ran, by hash and from no address; none holds tools, and flows go without TensorFlow."""
    tested = _pins((ROOT / "requirements.lock").read_text())
    for name in ("runtime", "gpu", "flow"):
        text = _text(f"docker/{name}.lock")
        pins = _pins(text)
        assert [package for package in pins if tested.get(package, pins[package]) != pins[package]] == []
        assert text.count("--hash=sha256:") >= len(pins) > 100
        assert "://" not in text
        assert not pins.keys() & {"pytest", "ruff", "mypy", "uv", "hatchling", "pip"}
        assert ("tensorflow" in pins) == (name != "flow")
    direct = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    for line in re.findall(r"^([\w.-]+==\S+) ;", _text("docker/flow-leaves-out.txt"), re.MULTILINE):
        assert line in direct


def _pins(lock: str) -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)(?:\[[^\]]*\])?==(\S+)", lock, re.MULTILINE))
