"""The server that the client's tests trust: requests and the words of errors as TensorFlow Serving has them."""

import http.client
import json

import grpc
import pytest
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2, prediction_service_pb2_grpc

from export import client


def rest(serving, method, path, body=None):
    connection = http.client.HTTPConnection(serving.rest_address, timeout=30)
    connection.request(method, path, body if body is None or isinstance(body, str) else json.dumps(body))
    response = connection.getresponse()
    answer = response.status, json.loads(response.read())
    connection.close()
    return answer


def test_rows_and_columns_hold_the_same(serving):
    path = "/v1/models/detector:predict"

    def predict(**values):
        status, answer = rest(serving, "POST", path, {"signature_name": "image_bytes", **values})
        assert status == 200
        return answer

    encoded = [{"b64": "iVBORw=="}, {"b64": ""}]  # \x89PNG, and nothing
    plain, columns = predict(instances=encoded), predict(inputs=encoded)
    assert predict(instances=[{"image_bytes": value} for value in encoded]) == plain
    assert predict(inputs={"image_bytes": encoded}) == columns
    assert [row["image_errors"] for row in plain["predictions"]] == columns["outputs"]["image_errors"] == ["", "no PNG"]
    assert set(columns["outputs"]) == set(client.OUTPUTS)
    assert plain["predictions"][0]["detection_boxes"][0] == [0.1, 0.2, 0.5, 0.6]  # no more digits than float32 has
    # One output has no name, and one signature is the default.
    images = [[[[1, 2, 3], [4, 5, 6]]], [[[0, 0, 0], [0, 0, 7]]]]
    assert rest(serving, "POST", path, {"instances": images}) == (200, {"predictions": [21.0, 7.0]})
    assert rest(serving, "POST", path, {"inputs": images}) == (200, {"outputs": [21.0, 7.0]})


@pytest.mark.parametrize(
    "method, path, body, status, words",
    [
        ("POST", "detector:predict", "{", 400, "JSON Parse error: "),
        ("POST", "detector:predict", "3", 400, "JSON Value: 3 Is not object"),
        ("POST", "detector:predict", {}, 400, "Missing 'inputs' or 'instances' key"),
        ("POST", "detector:predict", {"instances": []}, 400, "No values in 'instances' array"),
        ("POST", "detector:predict", {"instances": ["a"]}, 400,
         'JSON Value: "a" Type: String is not of expected type: uint8'),
        ("POST", "detector:predict", {"signature_name": "image_bytes", "instances": [{"b64": "*"}]}, 400,
         "Unable to base64 decode"),
        ("POST", "detector:predict", {"signature_name": "no", "instances": [1]}, 400,
         'Serving signature name: "no" not found in signature def'),
        ("POST", "detector:predict", {"inputs": {"b": 1}}, 400, "Missing named input: images in 'inputs' object."),
        ("POST", "half:predict", {"instances": [1]}, 404, "Servable not found for request: Latest(half)"),
        ("POST", "detector/versions/9:predict", {}, 404, "Servable not found for request: Specific(detector, 9)"),
        ("POST", "detector/labels/x:predict", {}, 400, "Unrecognized servable version label: x"),
        ("POST", "detector", {}, 400, "Malformed request: POST /v1/models/detector"),
        ("GET", "half", None, 404, "Could not find any versions of model half"),
        ("GET", "half/metadata", None, 404, "Servable not found for request: Latest(half)"),
    ],
)  # fmt: skip
def test_errors_of_rest(serving, method, path, body, status, words):
    found, answer = rest(serving, method, f"/v1/models/{path}", body)
    assert found == status and list(answer) == ["error"] and answer["error"].startswith(words)


def test_status_and_metadata(serving):
    status, answer = rest(serving, "GET", "/v1/models/detector")
    assert status == 200 and [entry["version"] for entry in answer["model_version_status"]] == ["2", "1"]
    assert {entry["state"] for entry in answer["model_version_status"]} == {"AVAILABLE"}
    _, answer = rest(serving, "GET", "/v1/models/detector/labels/stable")
    assert [entry["version"] for entry in answer["model_version_status"]] == ["1"]
    status, answer = rest(serving, "GET", "/v1/models/detector/metadata")
    assert status == 200 and answer["model_spec"] == {"name": "detector", "version": "2"}
    signature = answer["metadata"]["signature_def"]["signature_def"]["image_bytes"]
    assert signature["inputs"]["image_bytes"]["dtype"] == "DT_STRING"
    assert set(signature["outputs"]) == set(client.OUTPUTS)


def test_errors_and_metadata_of_grpc(serving):
    with grpc.insecure_channel(serving.grpc_address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)

        def refused(**spec):
            request = predict_pb2.PredictRequest()
            request.model_spec.name = spec.pop("name", "detector")
            request.model_spec.signature_name = spec.pop("signature", "image_bytes")
            if spec:
                request.model_spec.version.value = spec["version"]
            with pytest.raises(grpc.RpcError) as caught:
                stub.Predict(request, timeout=30)
            return caught.value.code(), caught.value.details()

        code = grpc.StatusCode
        assert refused(name="half") == (code.NOT_FOUND, "Servable not found for request: Latest(half)")
        assert refused(version=9) == (code.NOT_FOUND, "Servable not found for request: Specific(detector, 9)")
        assert refused(signature="no") == (code.FAILED_PRECONDITION, 'Serving signature key "no" not found.')
        assert refused() == (
            code.INVALID_ARGUMENT,
            "input size does not match signature: 0!=1 len({}) != len({image_bytes}). Sent extra: {}. "
            "Missing but required: {image_bytes}.",
        )
        request = get_model_metadata_pb2.GetModelMetadataRequest()
        request.model_spec.name = "detector"
        request.metadata_field.append("signature_def")
        signatures = get_model_metadata_pb2.SignatureDefMap()
        stub.GetModelMetadata(request, timeout=30).metadata["signature_def"].Unpack(signatures)
        assert {"image_bytes", "serving_default"} <= set(signatures.signature_def)
