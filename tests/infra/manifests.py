"""The manifests below infra/, each with its validator: what is refused is raised, what passes returns nothing."""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

import compose_spec
import hcl2
import kubernetes_validate
import pytest
import yaml
from jsonschema import Draft202012Validator

INFRA: Final = Path(__file__).parents[2] / "infra"
KUBERNETES: Final = kubernetes_validate.latest_version()
SCHEMAS: Final = Path(
    os.environ.get("LESIONS_TEST_SCHEMAS", Path(__file__).parents[2].parent / "shared" / "schemas" / "kuberay")
)
RAYCLUSTER_CRD: Final = SCHEMAS / "ray.io_rayclusters.yaml"
PLACEHOLDER: Final = re.compile(r"{{ *([\w.]+) *}}")
VARIABLE: Final = re.compile(r"\$\{(?P<name>\w+)(?:(?P<how>:[?-])(?P<text>[^}]*))?\}")
WANTED_BY_PREFECT: Final = ("parallelism", "completions")
"""Of a pod, where Kubernetes knows no such fields and drops them; Prefect's worker refuses a template without."""

SECRET: Final = re.compile(r"TOKEN|PASSWORD|AUTH_STRING$|_KEY$|SECRET")
REFERENCE: Final = re.compile(r"\b(var|local)\.(\w+)|\b(google_\w+)\.(\w+)\.")


class ManifestError(Exception):
    """What a manifest must not be, where its validator has no opinion."""


def check_dockerfile(text: str) -> None:
    """Lint a Dockerfile, no rule silenced; final stages run as uid 10001 and bring no installer along."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "Dockerfile")
        path.write_text(text)
        hadolint = Path(sys.executable).with_name("hadolint")
        run = subprocess.run([hadolint, "--no-color", path], capture_output=True, text=True, check=False)
    _require(run.returncode == 0, run.stdout + run.stderr)
    stages = {part.split("\n", 1)[0].split(" AS ")[-1]: part for part in re.split(r"^FROM ", text, flags=re.M)[1:]}
    for name in ("flow", "cpu", "gpu"):
        _require("\nUSER 10001:10001\n" in stages[name], f"{name} does not run as uid 10001")
        _require(stages[name].startswith("base AS"), f"{name} is not made from base, which has no pip")
    _require("pip uninstall" in stages["base"], "base keeps pip")
    for base in re.findall(r"^FROM (\S+:\S+)", text, re.M):
        _require(bool(re.search(r":\d+\.\d+\.\d+", base)), f"{base} is not pinned to a patch version")
    for line in re.findall(r".* pip (?:install|sync) .*", text):
        _require("--require-hashes" in line or "--no-deps /dist/" in line, f"not by hash: {line}")


def interpolated(text: str, environment: dict[str, str]) -> str:
    """Fill the variables of a compose file as compose does; one that is needed and empty is refused."""

    def fill(found: re.Match[str]) -> str:
        value, how = environment.get(found["name"], ""), found["how"]
        _require(bool(value) or how != ":?", f"{found['name']}: {found['text']}")
        return value or (found["text"] if how == ":-" else "")

    return VARIABLE.sub(fill, text)


def example_environment() -> dict[str, str]:
    """Return what env.example names; what is needed gets a value."""
    text = (INFRA / "compose" / "env.example").read_text()
    return {name: value or "filled-in" for name, value in re.findall(r"^(\w+)=(.*)$", text, re.M)}


def check_compose(text: str) -> None:
    """Hold a compose file against the specification, filled in and its anchors resolved; then against our rules."""
    filled_in = yaml.safe_load(interpolated(text, example_environment()))
    compose_spec.PyCompose.from_yaml(yaml.safe_dump(filled_in)).to_spec()
    for name, service in yaml.safe_load(text)["services"].items():
        for port in service.get("ports", []):
            _require(str(port).startswith("127.0.0.1:"), f"{name} publishes {port} to more than this machine")
        for variable, value in service.get("environment", {}).items():
            is_given = str(value).startswith(("${", "/run/secrets/"))
            _require(not SECRET.search(variable) or is_given, f"{name} holds {variable} as it is")
        if "image" not in service:
            continue  # adds to a service of another file
        image = interpolated(service["image"], {})
        _require(bool(re.search(r":(\d+\.\d+|dev$)", image)), f"{image} of {name} is not pinned")
        _require(service["cap_drop"] == ["ALL"] and service["init"], f"{name} is not hardened")
        _require("memory" in service["deploy"]["resources"]["limits"], f"{name} may take all memory")
        for other, how in service.get("depends_on", {}).items():
            waits_for_health = how["condition"] == "service_healthy"
            is_told = not waits_for_health or "healthcheck" in yaml.safe_load(text)["services"][other]
            _require(is_told, f"{name} waits for the health of {other}, which has no check")


def check_kubernetes(text: str) -> None:
    """Hold each document against its kind's newest schema, unknown fields refused; then against our rules."""
    documents = list(yaml.safe_load_all(text))
    for document in documents:
        if document["kind"] == "RayCluster":
            check_raycluster(document)
        else:
            kubernetes_validate.validate(document, KUBERNETES, strict=True)
    for document in documents:
        for pod in _pods(document):
            check_pod(pod)
        for rule in document.get("rules", []):
            _require("*" not in rule["verbs"] + rule["resources"], "a role that may do anything")
            _require("secrets" not in rule["resources"], "a role that reads secrets")
        if document["kind"] == "NetworkPolicy":
            sources = [source for rule in document["spec"].get("ingress", []) for source in rule.get("from", [{}])]
            _require(all(set(source) == {"podSelector"} for source in sources), "ingress from outside the namespace")


def check_pod(pod: dict[str, Any]) -> None:  # Any: YAML
    """Require what the namespace's `restricted` level asks of a pod, and no secret as plain text."""
    context = pod["securityContext"]
    _require(context["runAsNonRoot"] and context["runAsUser"] == 10001, "a pod that runs as somebody else")
    _require(context["seccompProfile"]["type"] == "RuntimeDefault", "a pod without seccomp")
    for container in pod["containers"]:
        own = container["securityContext"]
        _require(own["capabilities"]["drop"] == ["ALL"], f"{container['name']} keeps capabilities")
        _require(not own["allowPrivilegeEscalation"], f"{container['name']} may become more")
        _require("memory" in container["resources"]["limits"], f"{container['name']} may take all memory")
        for variable in container.get("env", []):
            names_a_secret = variable["name"].endswith(("_SECRET_NAME", "_SECRET_KEY"))
            is_secret = SECRET.search(variable["name"]) and not names_a_secret
            _require(not is_secret or "value" not in variable, f"{variable['name']} as plain text")


def _pods(value: Any) -> Iterator[dict[str, Any]]:  # Any: YAML
    """Yield every pod that a document describes."""
    if isinstance(value, dict):
        if "containers" in value:
            yield value
        for part in value.values():
            yield from _pods(part)
    elif isinstance(value, list):
        for part in value:
            yield from _pods(part)


def check_raycluster(document: dict[str, Any]) -> None:  # Any: YAML
    """Hold a Ray cluster against KubeRay's definition, unknown fields refused; then against our rules."""
    if not RAYCLUSTER_CRD.exists():
        pytest.skip("KubeRay's definitions are not on this machine")
    validators = _raycluster_validators()
    _require(document["apiVersion"] in validators, f"apiVersion is {document['apiVersion']}")
    validators[document["apiVersion"]].validate(document)
    spec = document["spec"]
    head, groups = spec["headGroupSpec"], spec["workerGroupSpecs"]
    _require(spec["authOptions"]["mode"] == "token", "whoever reaches the head may run code there")
    _require(head["serviceType"] == "ClusterIP" and not head["enableIngress"], "the dashboard is exposed")
    offered = head["rayStartParams"]["num-cpus"], head["rayStartParams"]["num-gpus"]
    _require(offered == ("0", "0"), "work may land on the head")
    _require("tolerations" not in head["template"]["spec"], "the head may be put on a spot node")
    for worker in groups:
        _require(worker["minReplicas"] == 0, f"{worker['groupName']} never goes away")
        if "nvidia.com/gpu" in worker["template"]["spec"]["containers"][0]["resources"]["limits"]:
            n_cpus = worker["rayStartParams"]["num-cpus"]
            _require(n_cpus == "0", "CPU work may hold a GPU node")


@cache
def _raycluster_validators() -> dict[str, Draft202012Validator]:
    """Return what validates a Ray cluster, by apiVersion; read once, since the definition takes seconds to read."""
    definition = yaml.safe_load(RAYCLUSTER_CRD.read_text())["spec"]
    validators = {}
    for version in definition["versions"]:
        schema = strict(version["schema"]["openAPIV3Schema"])
        schema["properties"]["metadata"] = {"type": "object"}  # the API server's own
        validators[f"{definition['group']}/{version['name']}"] = Draft202012Validator(schema)
    return validators


def strict(schema: Any) -> Any:  # Any: JSON
    """Return a schema of a definition that refuses what it does not know, unless it says to keep that."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: strict(part) for key, part in schema.items()}
    if schema.get("type") == "object" and isinstance(schema.get("properties"), dict):
        keeps = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
        found |= {} if keeps else {"additionalProperties": False}
    return found


def check_job_template(text: str) -> None:
    """Check that a job template's variables are a schema, are all declared, and that its defaults make a valid job."""
    template = json.loads(text)
    Draft202012Validator.check_schema(template["variables"])
    properties = template["variables"]["properties"]
    undeclared = set(PLACEHOLDER.findall(json.dumps(template["job_configuration"]))) - properties.keys()
    _require(not undeclared, f"not declared: {sorted(undeclared)}")
    defaults = {name: variable["default"] for name, variable in properties.items() if "default" in variable}
    for name, value in defaults.items():
        Draft202012Validator(properties[name]).validate(value)
    job = filled(template["job_configuration"]["job_manifest"], defaults)
    for field in WANTED_BY_PREFECT:
        _require(job["spec"]["template"]["spec"].pop(field, None) == 1, f"Prefect's worker wants {field}: 1 in the pod")
    kubernetes_validate.validate(job, KUBERNETES, strict=True)
    check_pod(job["spec"]["template"]["spec"])


def filled(value: Any, defaults: dict[str, Any]) -> Any:  # Any: JSON
    """Fill placeholders by defaults as Prefect does: what has none goes, within a text and as a whole."""
    if isinstance(value, dict):
        found = {key: filled(part, defaults) for key, part in value.items()}
        return {key: part for key, part in found.items() if part is not None}
    if isinstance(value, list):
        return [filled(part, defaults) for part in value]
    if isinstance(value, str) and (whole := PLACEHOLDER.fullmatch(value)):
        return defaults.get(whole[1])
    if isinstance(value, str):
        return PLACEHOLDER.sub(lambda found: str(defaults.get(found[1], "")), value)
    return value


def check_terraform(name: str, text: str) -> None:
    """Check a file within its module: it parses, names what there is, and holds our rules; no provider is asked."""
    module = {path.name: path.read_text() for path in (INFRA / "terraform").glob("*.tf")} | {name: text}
    parsed = [hcl2.loads(content) for content in module.values()]
    variables = dict(_blocks(parsed, "variable"))
    for labels, body in variables.items():
        _require("description" in body, f"variable {labels[0]} is not described")
    resources = dict(_blocks(parsed, "resource"))
    known = {("var", *labels) for labels in variables} | set(resources)
    known |= {("local", key) for content in parsed for part in content.get("locals", []) for key in part}
    named = {part for content in module.values() for found in REFERENCE.findall(content) for part in [_pair(found)]}
    _require(named <= known, f"nothing is called {sorted(named - known)}")
    _require({("var", *labels) for labels in variables} <= named, "a variable that is never used")
    (bucket,) = (body for (kind, _), body in resources.items() if kind == "google_storage_bucket")
    _require(bucket["versioning"][0]["enabled"] is True, "what is overwritten is lost")
    _require(bucket["uniform_bucket_level_access"] is True, "objects have access lists of their own")
    _require(bucket["public_access_prevention"] == '"enforced"', "an object can be made public")
    for (kind, label), body in resources.items():
        _require("service_account_key" not in kind, f"the key {label} would stand in the state")
        if kind == "google_container_node_pool" and label != "system":
            _require(body["autoscaling"][0]["total_min_node_count"] == 0, f"{label} costs when nothing runs")
    taints = resources["google_container_node_pool", "gpu_spot"]["node_config"][0]["taint"]
    _require('"nvidia.com/gpu"' in [taint["key"] for taint in taints], "anything may hold a GPU node")


def _pair(found: tuple[str, str, str, str]) -> tuple[str, ...]:
    return tuple(part for part in found if part)


def _blocks(
    parsed: Iterable[dict[str, Any]], kind: str
) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:  # Any: HCL
    """Yield labels and body of each block of a kind."""
    for block in (block for content in parsed for block in content.get(kind, [])):
        labels, body = [], block
        while "__is_block__" not in body:
            label, body = next((key, part) for key, part in body.items() if not key.startswith("__"))
            labels.append(label.strip('"'))
        yield tuple(labels), body


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ManifestError(otherwise)


CHECKS: Final[dict[str, Callable[[str], None]]] = {
    "docker/Dockerfile": check_dockerfile,
    "compose/compose.yaml": check_compose,
    "compose/compose.key.yaml": check_compose,
    "kubernetes/namespace.yaml": check_kubernetes,
    "kubernetes/network-policy.yaml": check_kubernetes,
    "kubernetes/prefect-worker.yaml": check_kubernetes,
    "kubernetes/raycluster.yaml": check_kubernetes,
    "kubernetes/flow-run-job.json": check_job_template,
    "terraform/main.tf": partial(check_terraform, "main.tf"),
    "terraform/outputs.tf": partial(check_terraform, "outputs.tf"),
    "terraform/variables.tf": partial(check_terraform, "variables.tf"),
    "terraform/versions.tf": partial(check_terraform, "versions.tf"),
}
"""Every manifest by its path below infra/, and what checks it."""
