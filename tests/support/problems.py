"""Checks of the problem documents that refuse hostile input: complete, short, with a pointer to every fault."""

import json

REJECTED_MAX = 72
ANSWER_BYTES_MAX = 128 * 1024


def check_problem(answer, *statuses):
    """A problem document with one of the statuses; its body."""
    assert answer.status_code in statuses, f"{answer.status_code}: {answer.text[:500]}"
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert len(answer.content) < ANSWER_BYTES_MAX
    body = json.loads(answer.content.decode("utf-8"))
    assert body["status"] == answer.status_code
    for name in ("type", "title", "detail", "instance", "request_id"):
        assert isinstance(body[name], str) and body[name], name
    assert ("errors" in body) == (answer.status_code == 422)
    for error in body.get("errors", []):
        assert set(error) <= {"pointer", "message", "rejected"} and error["message"]
        assert len(error.get("rejected", "")) <= REJECTED_MAX
    return body


def pointers(answer):
    """The sorted pointers of a 422, without the sentence that counts what came after the first hundred."""
    errors = check_problem(answer, 422)["errors"]
    if len(errors) == 101 and "more faults" in errors[-1]["message"]:
        errors.pop()
    return sorted(error["pointer"] for error in errors)
