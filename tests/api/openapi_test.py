"""The OpenAPI document: well-formed, complete, and the same from the server and the command."""

import json
import os
import re
import subprocess
import warnings

import pytest
import requests

from contract import DOCUMENT, METHODS, OPERATIONS, Validator, all_schemas, at, check_body, each_operation, nodes, parameters_of, resolved, subschemas
from installation import ROOT, clean_environment, run_cognive

SCHEMA_WORDS = {"type", "properties", "required", "additionalProperties", "items", "enum", "anyOf", "oneOf", "allOf", "not", "const", "$ref", "description", "title",
                "format", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength", "pattern", "minItems", "maxItems",
                "uniqueItems", "minProperties", "maxProperties", "propertyNames", "default", "examples", "discriminator", "deprecated", "readOnly", "writeOnly",
                "contentMediaType", "contentEncoding"}


def test_the_server_and_the_command_tell_the_same(installation):
    answer = requests.get(installation.url + "/openapi.json", timeout=10)
    assert answer.status_code == 200 and answer.headers["Content-Type"] == "application/json"
    assert answer.json() == DOCUMENT


def test_the_committed_file_is_what_the_command_tells():
    made = run_cognive("openapi", env=clean_environment())
    committed = json.loads((ROOT / "openapi.json").read_text())
    assert made.returncode == 0, made.stderr
    # A comparison outside of assert: the difference of two documents of this size would bury the advice.
    same = committed == json.loads(made.stdout)
    assert same, "openapi.json is out of date; run: cognive openapi | python3 -m json.tool > openapi.json"


def test_the_command_needs_no_configuration():
    made = run_cognive("openapi", env={"PATH": "/usr/bin"})
    assert made.returncode == 0 and made.stderr == ""
    assert json.loads(made.stdout) == DOCUMENT


def test_the_command_takes_the_title_from_the_environment():
    made = run_cognive("openapi", env=clean_environment(APP_NAME="Ours"))
    assert json.loads(made.stdout)["info"]["title"] == "Ours"


def test_a_strict_linter_finds_nothing():
    linter = ROOT / "build/npm/node_modules/.bin/redocly"
    assert linter.exists(), "the npm packages of the tests are missing: run ./test, or tools/npm_packages.sh"
    done = subprocess.run([linter, "lint", ROOT / "openapi.json", "--config", ROOT / "tests/npm/redocly.yaml"], env=os.environ | {"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"},
                          capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_the_document_can_be_cached(installation):
    answer = requests.get(installation.url + "/openapi.json", timeout=10)
    assert "max-age" in answer.headers.get("Cache-Control", "") or "ETag" in answer.headers
    if "ETag" in answer.headers:
        again = requests.get(installation.url + "/openapi.json", headers={"If-None-Match": answer.headers["ETag"]}, timeout=10)
        assert again.status_code == 304 and again.content == b""


def test_the_head_of_the_document():
    assert DOCUMENT["openapi"] == "3.1.0"
    info = DOCUMENT["info"]
    assert info["title"] == "Cognive Control Plane API" and re.fullmatch(r"\d+\.\d+\.\d+\S*", info["version"])
    assert info["description"] and info["license"]["name"]
    assert set(DOCUMENT) <= {"openapi", "info", "jsonSchemaDialect", "servers", "paths", "webhooks", "components", "security", "tags", "externalDocs"}


def test_there_are_the_two_security_schemes():
    schemes = DOCUMENT["components"]["securitySchemes"]
    assert schemes["ApiKeyAuth"]["type"] == "apiKey" and (schemes["ApiKeyAuth"]["in"], schemes["ApiKeyAuth"]["name"]) == ("header", "X-API-Key")
    assert (schemes["BearerAuth"]["type"], schemes["BearerAuth"]["scheme"], schemes["BearerAuth"]["bearerFormat"]) == ("http", "bearer", "JWT")


def test_every_reference_leads_somewhere():
    references = [(pointer, node["$ref"]) for pointer, node in nodes(DOCUMENT) if isinstance(node, dict) and isinstance(node.get("$ref"), str)]
    assert references
    for pointer, target in references:
        try:
            at(target)
        except (KeyError, TypeError):
            raise AssertionError(f"{pointer} refers to {target}, which is not there") from None


def test_every_component_is_used():
    used = {node["$ref"] for _, node in nodes(DOCUMENT) if isinstance(node, dict) and isinstance(node.get("$ref"), str)}
    for kind, components in DOCUMENT["components"].items():
        assert kind in ("schemas", "responses", "parameters", "examples", "requestBodies", "headers", "securitySchemes")
        for name in components:
            assert re.fullmatch(r"[a-zA-Z0-9._-]+", name)
            if kind == "securitySchemes":
                assert any(name in one for _, _, operation in OPERATIONS for one in operation.get("security", [])), name
            else:
                assert f"#/components/{kind}/{name}" in used, f"{kind}/{name} is not used"


def test_paths_are_unambiguous():
    shapes = [re.sub(r"\{[^}]*\}", "{}", path) for path in DOCUMENT["paths"]]
    assert len(shapes) == len(set(shapes))
    for path, item in DOCUMENT["paths"].items():
        assert path.startswith("/") and item
        assert set(item) <= {*METHODS, "summary", "description", "servers", "parameters"}


def test_operation_ids_are_unique_and_usable_as_names():
    ids = [operation["operationId"] for _, _, operation in OPERATIONS]
    assert len(ids) == len(set(ids))
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", one) for one in ids)


@each_operation
def test_an_operation_is_described(method, path, operation):
    assert set(operation) <= {"operationId", "summary", "description", "tags", "security", "parameters", "requestBody", "responses", "deprecated", "externalDocs",
                              "callbacks", "servers"} | {name for name in operation if name.startswith("x-")}
    assert operation["summary"] and not operation["summary"].endswith(".") and "\n" not in operation["summary"]
    assert len(operation["tags"]) == 1 and operation["tags"][0]
    if operation.get("security"):
        assert operation["security"] == [{"ApiKeyAuth": []}, {"BearerAuth": []}]
        assert re.fullmatch(r"[a-z_]+:[a-z_]+", operation.get("x-permission", "any:one"))
    else:
        assert operation["security"] == [] and "x-permission" not in operation


@each_operation
def test_parameters_are_declared_completely(method, path, operation):
    parameters = parameters_of(operation)
    names = [(parameter["in"], parameter["name"]) for parameter in parameters]
    assert len(names) == len(set(names))
    assert {name for place, name in names if place == "path"} == set(re.findall(r"\{([^}]*)\}", path))
    for parameter in parameters:
        assert set(parameter) <= {"name", "in", "required", "description", "schema", "style", "explode", "example", "examples", "deprecated", "allowReserved", "content"}
        assert parameter["in"] in ("path", "query", "header", "cookie")
        assert parameter["schema"], parameter["name"]
        if parameter["in"] == "path":
            assert parameter["required"] is True
        else:
            assert parameter["description"], f"{parameter['name']} is not described"


def test_list_parameters_say_that_they_are_separated_by_commas():
    for _, _, operation in OPERATIONS:
        for parameter in parameters_of(operation):
            if parameter["schema"].get("type") == "array":
                # The default of query parameters is ?a=1&a=2, which we refuse.
                assert parameter.get("style", "form") == "form" and parameter.get("explode") is False, (operation["operationId"], parameter["name"])


@each_operation
def test_responses_are_declared_completely(method, path, operation):
    responses = operation["responses"]
    assert all(re.fullmatch(r"[2-5]\d\d", status) for status in responses)
    assert any(status.startswith("2") for status in responses)
    for status, response in responses.items():
        response = resolved(response)
        assert response["description"]
        assert set(response) <= {"description", "headers", "content", "links"}
        if int(status) >= 400 and not (path.endswith("readiness")):
            assert list(response["content"]) == ["application/problem+json"], status
        elif status not in ("204", "304"):
            assert response["content"], status
    if operation.get("security"):
        assert {"401", "403", "503"} <= responses.keys()
    if "{" in path:
        assert "404" in responses
    if any(parameter["in"] != "header" for parameter in parameters_of(operation)):
        assert "422" in responses
    if "requestBody" in operation:
        assert {"400", "413", "415", "422"} <= responses.keys()


def test_request_bodies_are_declared_completely():
    for method, path, operation in OPERATIONS:
        if "requestBody" in operation:
            assert method in ("POST", "PUT", "PATCH")
            body = operation["requestBody"]
            assert isinstance(body["required"], bool) and body["content"].keys() & {"application/json", "*/*"}
            for media in body["content"].values():
                assert media["schema"]
        elif method in ("PUT", "PATCH"):
            raise AssertionError(f"{operation['operationId']} takes no body")


@pytest.mark.parametrize("name, schema", list(all_schemas()), ids=lambda value: value if isinstance(value, str) else "")
def test_a_schema_is_valid_json_schema(name, schema):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        Validator.check_schema(schema)
    for one in subschemas(schema):
        assert isinstance(one, dict)
        assert set(one) <= SCHEMA_WORDS, f"unknown words: {set(one) - SCHEMA_WORDS}"
        if one.get("type") == "array":
            assert "items" in one
        if "required" in one:
            assert len(set(one["required"])) == len(one["required"]) and set(one["required"]) <= set(one.get("properties", {}))
        if "enum" in one:
            assert one["enum"] and len(set(map(str, one["enum"]))) == len(one["enum"])
        for example in one.get("examples", []):
            check_body(example, one)
        if "default" in one:
            check_body(one["default"], one)


def test_answers_always_carry_every_member_and_the_document_says_so():
    """Null instead of absent, so that generated clients need no guesses."""
    for name in ("Agent", "Run", "RunDetail", "Team"):
        schema = DOCUMENT["components"]["schemas"][name]
        assert set(schema["required"]) == set(schema["properties"]), name
