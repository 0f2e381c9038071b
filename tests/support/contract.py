"""The OpenAPI document as a promise: its operations and schemas, and whether an answer is what it declares."""

import json
import re
import uuid
import warnings
from datetime import datetime

import pytest

from installation import run_cognive

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import jsonschema
    Validator = getattr(jsonschema, "Draft202012Validator", None) or jsonschema.validators.validator_for(True)

DOCUMENT = json.loads(run_cognive("openapi").stdout)
METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
OPERATIONS = [(method.upper(), path, operation) for path, item in DOCUMENT["paths"].items() for method, operation in item.items() if method in METHODS]
BY_ID = {operation["operationId"]: (method, path, operation) for method, path, operation in OPERATIONS}
each_operation = pytest.mark.parametrize("method, path, operation", OPERATIONS, ids=lambda value: value["operationId"] if isinstance(value, dict) else "")

FORMATS = jsonschema.FormatChecker(formats=())
FORMATS.checks("uuid", raises=(ValueError, AttributeError))(lambda value: not isinstance(value, str) or str(uuid.UUID(value)) == value)
FORMATS.checks("date-time", raises=ValueError)(lambda value: not isinstance(value, str) or bool(
    re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", value) and datetime.fromisoformat(value[:-1])))
FORMATS.checks("uri")(lambda value: not isinstance(value, str) or bool(re.fullmatch(r"[a-z][a-z0-9+.-]*:\S+", value)))


def nodes(value, pointer=""):
    """Every node of a document with its pointer."""
    yield pointer, value
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, child in children:
        yield from nodes(child, f"{pointer}/{str(name).replace('~', '~0').replace('/', '~1')}")


def at(pointer):
    """The node of the document that a local reference names."""
    assert pointer.startswith("#/"), f"not local: {pointer}"
    node = DOCUMENT
    for name in pointer[2:].split("/"):
        node = node[name.replace("~1", "/").replace("~0", "~")]
    return node


def resolved(node):
    """A node, or what it refers to."""
    return at(node["$ref"]) if "$ref" in node else node


def parameters_of(operation):
    """Its parameters, shared ones looked up."""
    return [resolved(parameter) for parameter in operation.get("parameters", [])]


def media_types():
    """Every media type object with where it is."""
    for method, path, operation in OPERATIONS:
        name = operation["operationId"]
        for kind, media in operation.get("requestBody", {}).get("content", {}).items():
            yield f"{name} request {kind}", media
        for status, response in operation["responses"].items():
            for kind, media in resolved(response).get("content", {}).items():
                yield f"{name} {status} {kind}", media


def all_schemas():
    """Every schema of the document that is not inside another."""
    yield from DOCUMENT["components"]["schemas"].items()
    for where, media in media_types():
        yield where, media["schema"]
    for _, _, operation in OPERATIONS:
        for parameter in parameters_of(operation):
            yield f"{operation['operationId']} parameter {parameter['name']}", parameter["schema"]


def subschemas(schema):
    """A schema and all schemas inside it."""
    yield schema
    if not isinstance(schema, dict):
        return
    for name in ("items", "additionalProperties", "not", "propertyNames"):
        if isinstance(schema.get(name), dict):
            yield from subschemas(schema[name])
    for name in ("anyOf", "oneOf", "allOf"):
        for one in schema.get(name, []):
            yield from subschemas(one)
    for one in schema.get("properties", {}).values():
        yield from subschemas(one)


def closed(node):
    """A copy of a schema in which described objects take no other members: an answer has nothing that the document does not tell."""
    if isinstance(node, list):
        return [closed(one) for one in node]
    if not isinstance(node, dict):
        return node
    node = {name: closed(value) for name, value in node.items()}
    if isinstance(node.get("properties"), dict) and node.get("type") == "object":
        node.setdefault("additionalProperties", False)
    return node


CLOSED = closed(DOCUMENT)


def check_body(value, schema):
    """A value matches a schema of the document."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        resolver = jsonschema.RefResolver("", CLOSED)
        errors = sorted(Validator(closed(schema), resolver=resolver, format_checker=FORMATS).iter_errors(value), key=lambda error: str(error.path))
    assert not errors, [f"{list(error.absolute_path)}: {error.message[:300]}" for error in errors]


def check_answer(operation_id, answer, status=None):
    """An answer has a declared status, the declared content type and a body of the declared schema; the body."""
    method, path, operation = BY_ID[operation_id]
    if status:
        assert answer.status_code == status, answer.text
    assert str(answer.status_code) in operation["responses"], f"{answer.status_code} is not declared: {answer.text[:300]}"
    content = resolved(operation["responses"][str(answer.status_code)]).get("content", {})
    kind = answer.headers["Content-Type"].split(";")[0]
    declared = kind if kind in content else "*/*"
    assert declared in content, f"{kind} is not declared"
    value = json.loads(answer.content.decode("utf-8")) if kind.endswith("json") else answer.text
    check_body(value, content[declared]["schema"])
    return value
