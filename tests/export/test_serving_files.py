"""The serving folder: its files agree with each other and with the client, and TensorFlow Serving can parse them."""

import re
import subprocess
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2
from tensorflow_serving.config import model_server_config_pb2

from export import client

SERVING = Path(__file__).resolve().parents[2] / "export" / "serving"
VERSIONS = 2  # served at once during a rollout
# Of tensorflow_model_server 2.20: model_servers/main.cc.
FLAGS = {
    "model_config_file", "model_config_file_poll_wait_seconds", "allow_version_labels_for_unavailable_models",
    "num_load_threads", "enable_batching", "batching_parameters_file", "monitoring_config_file",
    "rest_api_timeout_in_ms", "rest_api_num_threads", "tensorflow_session_parallelism",
}  # fmt: skip

Field = descriptor_pb2.FieldDescriptorProto
wrappers_pb2.DESCRIPTOR  # noqa: B018  its messages are in the pool from here on


def message_of(name, fields):
    """A message class of the fields {name: (type or name of a message, is repeated)}, numbered in order.

    For the messages that tensorflow-serving-api lacks.  The fields follow tensorflow_serving's .proto files.
    """
    file = descriptor_pb2.FileDescriptorProto(name=f"{name}.proto", package="test", syntax="proto3")
    file.dependency.append("google/protobuf/wrappers.proto")
    message = file.message_type.add(name=name)
    for number, (field, (kind, repeated)) in enumerate(fields.items(), 1):
        added = message.field.add(name=field, number=number, label=Field.LABEL_REPEATED if repeated else 1)
        if isinstance(kind, str):
            added.type, added.type_name = Field.TYPE_MESSAGE, kind
        else:
            added.type = kind
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"test.{name}"))


def read_config(name, message):
    return text_format.Parse((SERVING / name).read_text(), message)


@pytest.fixture(scope="module")
def model_config():
    config = read_config("models.config", model_server_config_pb2.ModelServerConfig())
    (model,) = config.model_config_list.config
    return model


@pytest.fixture(scope="module")
def batching():
    number = (".google.protobuf.Int64Value", False)
    fields = {  # servables/tensorflow/session_bundle_config.proto
        "max_batch_size": number, "batch_timeout_micros": number, "max_enqueued_batches": number,
        "num_batch_threads": number, "thread_pool_name": (".google.protobuf.StringValue", False),
        "allowed_batch_sizes": (Field.TYPE_INT64, True), "pad_variable_length_inputs": (Field.TYPE_BOOL, False),
    }  # fmt: skip
    return read_config("batching.config", message_of("BatchingParameters", fields)())


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load((SERVING / "compose.yaml").read_text())


@pytest.fixture(scope="module")
def kubernetes():
    """The manifest's objects by kind."""
    objects = list(yaml.safe_load_all((SERVING / "kubernetes.yaml").read_text()))
    assert len({entry["kind"] for entry in objects}) == len(objects) == 4
    return {entry["kind"]: entry for entry in objects}


@pytest.fixture(scope="module")
def container(kubernetes):
    (container,) = kubernetes["Deployment"]["spec"]["template"]["spec"]["containers"]
    return container


def flags(arguments):
    return dict(re.fullmatch(r"--(\w+)=(.+)", argument).groups() for argument in arguments)


# The server's own configuration.


def test_labels_point_to_versions_that_are_loaded(model_config):
    assert model_config.model_platform == "tensorflow"
    assert model_config.base_path == f"/models/{model_config.name}"
    loaded = set(model_config.model_version_policy.specific.versions)
    assert loaded == {1}
    assert dict(model_config.version_labels) == {"stable": 1, "canary": 1}
    for label in model_config.version_labels:
        assert client.parse_arguments(
            ["--server", "s:1", "--model", model_config.name, "--version", label, "p"]
        ).version == label  # fmt: skip


def test_batches(batching):
    assert batching.num_batch_threads.value >= 1 and batching.max_enqueued_batches.value >= 1
    assert not batching.allowed_batch_sizes and not batching.pad_variable_length_inputs
    client_batch = client.parse_arguments(["--server", "s:1", "--model", "m", "p"]).batch
    assert client_batch <= batching.max_batch_size.value


def test_the_numbers_in_the_comments_of_batching_are_right(batching):
    running = batching.num_batch_threads.value * batching.max_batch_size.value
    waiting = batching.max_enqueued_batches.value * batching.max_batch_size.value
    text = (SERVING / "batching.config").read_text()
    assert f"max_batch_size = {running} pictures are" in text and f"max_batch_size = {waiting} wait" in text
    compose = (SERVING / "compose.yaml").read_text()
    assert f"the {running + VERSIONS * waiting} pictures" in compose and f"and {running} pictures of" in compose


def test_metrics_are_scraped_where_they_are(compose, kubernetes, container):
    prometheus_config = {"enable": (Field.TYPE_BOOL, False), "path": (Field.TYPE_STRING, False)}
    text = re.sub(r"#.*", "", (SERVING / "monitoring.config").read_text())
    inner = re.fullmatch(r"\s*prometheus_config \{(.*)\}\s*", text, re.DOTALL)[1]  # config/monitoring_config.proto
    monitoring = text_format.Parse(inner, message_of("PrometheusConfig", prometheus_config)())
    assert monitoring.enable
    (scrape,) = yaml.safe_load((SERVING / "prometheus.yaml").read_text())["scrape_configs"]
    assert scrape["metrics_path"] == monitoring.path
    ((target,),) = (entry["targets"] for entry in scrape["static_configs"])
    service, port = target.split(":")
    assert f"{port}:{port}" in compose["services"][service]["ports"]
    pod = kubernetes["Deployment"]["spec"]["template"]
    annotations = pod["metadata"]["annotations"]
    assert annotations["prometheus.io/path"] == monitoring.path
    assert int(annotations["prometheus.io/port"]) in {entry["containerPort"] for entry in container["ports"]}
    assert compose["services"]["prometheus"]["command"] == ["--config.file=/config/prometheus.yaml"]


# The containers.


def test_one_pinned_image_of_the_tensorflow_that_writes_the_models(compose, container):
    image = compose["services"]["serving"]["image"]
    assert image == container["image"]
    name, tag = image.split(":")
    assert name == "tensorflow/serving" and re.fullmatch(r"\d+\.\d+\.\d+", tag)
    assert tag.split(".")[:2] == metadata.version("tensorflow").split(".")[:2]
    written = "".join(path.read_text() for path in [*SERVING.iterdir(), SERVING.parents[1] / "README.md"])
    assert "tensorflow/serving:latest" not in written
    assert {*re.findall(r"tensorflow/serving:([\d.]*\d)", written), *re.findall(r"([\d.]+)-gpu", written)} == {tag}
    for service in compose["services"].values():
        assert re.fullmatch(r"[\w/]+:v?\d+\.\d+\.\d+", service["image"])


def test_both_start_the_server_with_the_same_flags(compose, container, batching):
    ours, theirs = flags(compose["services"]["serving"]["command"]), flags(container["args"])
    assert set(ours) == set(theirs) == FLAGS
    cores = "tensorflow_session_parallelism"
    assert {**ours, cores: None} == {**theirs, cores: None}
    assert ours[cores] == compose["services"]["serving"]["cpus"] == "${CPUS:-2}"
    assert theirs[cores] == container["resources"]["limits"]["cpu"] == container["resources"]["requests"]["cpu"]
    for name in ("model_config_file", "batching_parameters_file", "monitoring_config_file"):
        folder, file = ours[name].rsplit("/", 1)
        assert folder == "/config" and (SERVING / file).is_file()
    in_server = batching.num_batch_threads.value + VERSIONS * batching.max_enqueued_batches.value
    assert int(ours["rest_api_num_threads"]) > in_server * batching.max_batch_size.value


def test_compose_mounts_read_only_and_limits(compose, model_config):
    serving = compose["services"]["serving"]
    assert serving["ports"] == ["8500:8500", "8501:8501"]
    mounts = {entry["target"]: entry for entry in serving["volumes"]}
    assert set(mounts) == {str(Path(model_config.base_path).parent), "/config"}
    assert all(entry["read_only"] for service in compose["services"].values() for entry in service["volumes"])
    assert mounts["/models"]["source"].startswith("${MODELS:?") and mounts["/config"]["source"] == "."
    assert all("mem_limit" in service for service in compose["services"].values())


def test_the_health_check_of_compose_tells_a_served_model(compose, model_config, serving, serving_server):
    """Runs its command against a server of this test."""
    command = compose["services"]["serving"]["healthcheck"]["test"]
    assert command[:3] == ["CMD", "bash", "-c"] and f"/v1/models/{model_config.name} " in command[3]

    def status(server, script):
        host, port = server.rest_address.split(":")
        assert f"/dev/tcp/{host}/8501;" in script
        return subprocess.run(
            ["bash", "-c", script.replace("/8501;", f"/{port};")], capture_output=True, timeout=60
        ).returncode

    assert status(serving, command[3]) == 0
    assert status(serving, command[3].replace(model_config.name, "gone")) != 0
    with serving_server.ServingServer({}) as stopped:
        pass
    assert status(stopped, command[3]) != 0


def test_the_kubernetes_objects_name_each_other(kubernetes, container, model_config):
    deployment, service = kubernetes["Deployment"], kubernetes["Service"]
    assert {entry["metadata"]["name"] for entry in kubernetes.values()} == {"faster-rcnn-serving"}
    assert {kind: entry["apiVersion"] for kind, entry in kubernetes.items()} == {
        "Service": "v1", "Deployment": "apps/v1", "HorizontalPodAutoscaler": "autoscaling/v2",
        "PodDisruptionBudget": "policy/v1",
    }  # fmt: skip
    pod = deployment["spec"]["template"]
    labels = pod["metadata"]["labels"]
    (spread,) = pod["spec"]["topologySpreadConstraints"]
    budget = kubernetes["PodDisruptionBudget"]["spec"]
    for selector in (deployment["spec"]["selector"], budget["selector"], spread["labelSelector"]):
        assert selector == {"matchLabels": labels}
    assert service["spec"]["selector"] == labels
    ports = {entry["name"]: entry["containerPort"] for entry in container["ports"]}
    assert ports == {"grpc": 8500, "rest": 8501}  # those of the image's entry point
    assert {entry["targetPort"]: entry["port"] for entry in service["spec"]["ports"]} == ports
    volumes = {entry["name"]: entry for entry in pod["spec"]["volumes"]}
    mounts = {entry["name"]: entry for entry in container["volumeMounts"]}
    assert set(volumes) == set(mounts) == {"models", "config"}
    assert all(entry["readOnly"] for entry in mounts.values())
    assert mounts["models"]["mountPath"] == str(Path(model_config.base_path).parent)
    assert mounts["config"]["mountPath"] == "/config"
    head = (SERVING / "kubernetes.yaml").read_text().split("apiVersion")[0]
    assert f"create configmap {volumes['config']['configMap']['name']} " in head
    for file in ("models.config", "batching.config", "monitoring.config"):
        assert f"--from-file=export/serving/{file}" in head
    assert volumes["models"]["persistentVolumeClaim"]["claimName"] in head


def test_probes_ask_for_the_served_model(container, model_config):
    path = f"/v1/models/{model_config.name}"
    paths = {kind: container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "readiness", "liveness")}
    assert {kind: get["path"] for kind, get in paths.items()} == {
        "startup": path, "readiness": f"{path}/metadata", "liveness": path
    }  # fmt: skip
    ports = {entry["name"] for entry in container["ports"]}
    assert all(get["port"] in ports for get in paths.values())

    def seconds(kind):
        probe = container[f"{kind}Probe"]
        return probe["periodSeconds"] * probe["failureThreshold"]

    assert seconds("startup") == 300 and seconds("readiness") < seconds("liveness")


def test_pods_end_after_the_requests_they_have(kubernetes, container):
    spec = kubernetes["Deployment"]["spec"]["template"]["spec"]
    program, seconds = container["lifecycle"]["preStop"]["exec"]["command"]
    client_timeout = client.parse_arguments(["--server", "s:1", "--model", "m", "p"]).timeout
    assert program == "sleep" and client_timeout < int(seconds) < spec["terminationGracePeriodSeconds"]


def test_replicas_are_left_to_the_autoscaler(kubernetes, container):
    deployment, scaler = kubernetes["Deployment"], kubernetes["HorizontalPodAutoscaler"]["spec"]
    assert "replicas" not in deployment["spec"]
    assert scaler["scaleTargetRef"] == {
        "apiVersion": deployment["apiVersion"], "kind": "Deployment", "name": deployment["metadata"]["name"]
    }  # fmt: skip
    (metric,) = scaler["metrics"]
    assert metric["resource"]["name"] in container["resources"]["requests"]  # a utilization is a share of the request
    assert kubernetes["PodDisruptionBudget"]["spec"]["minAvailable"] < scaler["minReplicas"] < scaler["maxReplicas"]
    assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
