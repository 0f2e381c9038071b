"""What protects the server and its callers: encryption, limits of rate and length, headers, other origins."""

import json
import socket
import ssl
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from deployment import Service
from installation import Installation, clean_environment, run_cognive, wait_until
from problems import check_problem
from wire import Wire


@pytest.fixture(scope="module")
def serve(installation):
    """Starts a server with some settings on the database of the shared installation; all are stopped at the end."""
    variables = {name: value for name, value in installation.variables.items() if name.startswith("DATABASE_") or name == "COGNIVE_MASTER_KEY_FILE"}
    started = []

    def start(**settings):
        log = installation.directory.parent / f"protected-{len(started)}.log"
        started.append(Service(log, variables | {"HTTP_PORT": 0} | settings, installation.key))
        return started[-1].start()

    yield start
    for service in started:
        assert service.stop() in (0, None)


# Encryption.

def make_certificate(directory, name):
    """A self-signed certificate of localhost and its key."""
    certificate, key = directory / f"{name}.pem", directory / f"{name}.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-keyout", key, "-out", certificate,
                    "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"], check=True, capture_output=True)
    return certificate, key


@pytest.fixture(scope="module")
def encrypted(serve, shared_directory):
    """A server with a certificate; `https` is its address, `certificate` and `key` its files."""
    certificate, key = make_certificate(shared_directory, "first")
    service = serve(TLS_CERT_FILE=certificate, TLS_KEY_FILE=key)
    service.https = service.url.replace("http://", "https://")
    service.certificate, service.key_file = certificate, key
    return service


def subject_of(service):
    """The name in the certificate that a server shows."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", int(service.url.rsplit(":", 1)[1])), timeout=10) as plain, context.wrap_socket(plain) as wrapped:
        shown = wrapped.getpeercert(binary_form=True)
    text = subprocess.run(["openssl", "x509", "-inform", "der", "-noout", "-subject"], input=shown, capture_output=True, check=True).stdout.decode()
    return text.split("CN =")[1].strip()


def test_the_api_is_served_encrypted(encrypted, installation):
    session = requests.Session()
    session.trust_env = False  # an authority from the environment would win
    session.verify, session.headers["X-API-Key"] = str(encrypted.certificate), installation.key
    answer = session.get(encrypted.https + "/api/v1/teams", timeout=10)
    assert answer.status_code == 200 and answer.headers["Strict-Transport-Security"].startswith("max-age=")
    body = json.dumps([{"type": "step"}] * 20_000)
    assert len(session.post(encrypted.https + "/api/v1/events", data=body, timeout=60).json()["rejected"]) == 20_000
    with ThreadPoolExecutor(8) as pool:
        assert {answer.status_code for answer in pool.map(lambda _: session.get(encrypted.https + "/openapi.json", timeout=10), range(40))} == {200}


def test_nothing_is_said_to_whoever_does_not_encrypt(encrypted):
    with pytest.raises(requests.ConnectionError):
        requests.get(encrypted.url.replace("https://", "http://") + "/api/v1/health/liveness", timeout=10)


def test_old_versions_of_tls_are_refused(encrypted):
    port = int(encrypted.url.rsplit(":", 1)[1])
    for version, accepted in (("-tls1_1", False), ("-tls1_2", True), ("-tls1_3", True)):
        made = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{port}", version, "-cipher", "ALL:@SECLEVEL=0"], input=b"", capture_output=True, timeout=20)
        assert (made.returncode == 0) == accepted, (version, made.stderr)


def test_whoever_never_ends_the_handshake_is_cut_off(serve, encrypted):
    service = serve(TLS_CERT_FILE=encrypted.certificate, TLS_KEY_FILE=encrypted.key_file, HTTP_REQUEST_TIMEOUT_MS=500)
    with socket.create_connection(("127.0.0.1", int(service.url.rsplit(":", 1)[1])), timeout=10) as silent:
        begin = time.monotonic()
        assert silent.recv(1) == b""
        assert time.monotonic() - begin < 5


def test_a_renewed_certificate_is_shown_without_a_restart(encrypted, shared_directory):
    assert subject_of(encrypted) == "first"
    encrypted.certificate.write_text("no certificate")
    time.sleep(11)
    assert subject_of(encrypted) == "first", "what cannot be read is not used"
    certificate, key = make_certificate(shared_directory, "second")
    encrypted.key_file.write_bytes(key.read_bytes())
    encrypted.certificate.write_bytes(certificate.read_bytes())
    wait_until(lambda: subject_of(encrypted) == "second", "the new certificate", seconds=30)


def test_cognive_up_and_its_tools_speak_tls(shared_directory):
    certificate, key = make_certificate(shared_directory, "laptop")
    one = Installation(shared_directory / "encrypted-laptop", TLS_CERT_FILE=certificate, TLS_KEY_FILE=key).start("--demo")
    try:
        assert one.url.startswith("https://")
        assert one.cli("healthcheck").returncode == 0
        wait_until(lambda: "chat-gpt" in one.cli("costs").stdout, "the demonstration", seconds=60)
    finally:
        assert one.stop() == 0


def test_a_certificate_that_cannot_be_used_stops_the_start(installation, shared_directory):
    certificate, key = make_certificate(shared_directory, "third")
    other = make_certificate(shared_directory, "fourth")[1]
    for settings, name in (({"TLS_CERT_FILE": certificate}, "TLS_KEY_FILE"), ({"TLS_CERT_FILE": "/nowhere", "TLS_KEY_FILE": key}, "TLS_CERT_FILE"),
                           ({"TLS_CERT_FILE": certificate, "TLS_KEY_FILE": other}, "TLS_KEY_FILE")):
        variables = {name: value for name, value in installation.variables.items() if name.startswith("DATABASE_") or name == "COGNIVE_MASTER_KEY_FILE"}
        made = run_cognive("serve", env=clean_environment(**variables | {"HTTP_PORT": 0} | settings), timeout=30)
        assert made.returncode == 1 and name in made.stderr, made.stderr


# Limits.

def test_a_caller_over_the_limit_is_refused_and_told_when_to_come_back(serve, installation):
    service = serve(RATE_LIMIT_PER_CALLER=2)
    api, other = service.api(), installation.team_key("limits")
    answers = [api.get("/api/v1/teams") for _ in range(25)]
    assert [answer.status_code for answer in answers[:20]] == [200] * 20
    first, last = answers[0], answers[-1]
    assert first.headers["RateLimit-Policy"] == '"caller";q=20;w=10' and first.headers["RateLimit"].startswith('"caller";r=19;t=')
    check_problem(last, 429)
    assert last.headers["RateLimit"].startswith('"caller";r=0;t=') and 1 <= int(last.headers["Retry-After"]) <= 2
    assert api.session.get(service.url + "/api/v1/teams", headers={"X-API-Key": other}).status_code == 200, "others have limits of their own"
    assert api.get("/api/v1/health/liveness").status_code == 200
    time.sleep(int(last.headers["Retry-After"]))
    assert api.get("/api/v1/teams").status_code == 200


def test_a_caller_over_the_limit_is_in_the_audit_trail(serve, installation):
    made = installation.api().post("/api/v1/api-keys", json={"name": "hasty", "permissions": ["teams:read"]}).json()
    service = serve(RATE_LIMIT_PER_CALLER=1)
    statuses = [service.api(made["key"]).get("/api/v1/teams").status_code for _ in range(16)]
    assert service.stop() == 0
    entries = installation.api().get(f"/api/v1/audit-entries?action=access_refuse&actor_id={made['id']}").json()["items"]
    assert sum(entry["details"]["count"] for entry in entries) == statuses.count(429) >= 5
    assert {(entry["resource_id"], entry["details"]["reason"]) for entry in entries} == {("team_list", "over_limit")}


def test_an_address_over_the_limit_is_refused_with_any_key_and_without(serve, installation):
    service = serve(RATE_LIMIT_PER_ADDRESS=3, HTTP_TRUSTED_PROXIES="127.0.0.0/8")
    here, elsewhere = {"X-Forwarded-For": "192.0.2.1"}, {"X-Forwarded-For": "192.0.2.2"}
    assert [service.api().get("/openapi.json", headers=here).status_code for _ in range(32)].count(200) in (30, 31)
    for probe in ("/api/v1/health/liveness", "/api/v1/health/readiness", "/metrics"):
        assert service.api().get(probe, headers=here).status_code == 200, "whoever keeps it running must not restart it for that"
    check_problem(service.api().get("/api/v1/teams", headers=here), 429)
    assert service.api().get("/api/v1/teams", headers=elsewhere).status_code == 200
    # What a client claims counts only as far as the proxy says so.
    check_problem(service.api().get("/api/v1/teams", headers={"X-Forwarded-For": "192.0.2.3, 192.0.2.1"}), 429)


def test_without_limits_no_answer_speaks_of_them(api):
    assert not [name for name in api.get("/api/v1/teams").headers if name.lower().startswith("ratelimit")]


def test_whoever_tries_many_keys_is_slowed_down_and_keys_in_use_are_not(serve, installation):
    service = serve()
    api = service.api()
    prefix, key_id, _ = installation.key.split("_")
    assert api.get("/api/v1/teams").status_code == 200
    session = requests.Session()
    statuses = [session.get(service.url + "/api/v1/teams", headers={"X-API-Key": f"{prefix}_{key_id}_{number:043d}"}, timeout=30).status_code for number in range(3_000)]
    assert statuses[:1_000] == [401] * 1_000 and 429 in statuses
    assert api.get("/api/v1/teams").status_code == 200


def test_a_target_that_is_too_long_is_414(api):
    check_problem(api.get("/api/v1/agents?name=" + "a" * 8_200), 414)
    assert api.get("/api/v1/agents?name=" + "a" * 200).status_code == 200


# Bodies of strangers.

def head(method, path, *fields):
    """The head of a request."""
    return "\r\n".join((f"{method} {path} HTTP/1.1", "Host: x", "Content-Type: application/json", *fields, "", "")).encode()


@pytest.mark.parametrize("framing", ["Content-Length: 10000000", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize("path, fields, status", [("/api/v1/events", (), 401), ("/api/v1/events", ("X-API-Key: cgv_wrong",), 401), ("/api/v1/nothing", (), 404), ("/api/v1/health/liveness", (), 405)])
def test_nobody_reads_a_long_body_of_whom_we_do_not_know(wire, framing, path, fields, status):
    """The answer comes before any of the body, and the connection ends."""
    wire.send(head("POST", path, framing, *fields))
    answer = wire.answer()
    assert answer.status == status and answer.headers["connection"] == "close"


def test_a_route_that_needs_no_credentials_reads_no_long_body(wire, installation):
    wire.send(head("POST", "/api/v1/auth/login", "Content-Length: 65537"))
    assert wire.answer().status == 413
    with Wire(installation.url) as chunked:
        chunked.send(head("POST", "/api/v1/auth/login", "Transfer-Encoding: chunked"))
        chunked.send(b"8000\r\n" + b" " * 0x8000 + b"\r\n" + b"8001\r\n" + b" " * 0x8001)
        answer = chunked.answer()
        assert answer.status == 413 and b"without credentials" in answer.body
    with Wire(installation.url) as short:
        short.send(head("POST", "/api/v1/auth/login", "Transfer-Encoding: chunked") + b"2\r\n{}\r\n0\r\n\r\n")
        assert short.answer().status == 422


def test_an_early_refusal_says_what_others_say(serve):
    ours = "https://console.example.com"
    service = serve(HTTP_CORS_ORIGINS=ours, RATE_LIMIT_PER_ADDRESS=1000)
    with Wire(service.url) as one:
        one.send(head("POST", "/api/v1/events", "Content-Length: 10000000", f"Origin: {ours}"))
        answer = one.answer()
    assert answer.status == 401 and answer.headers["access-control-allow-origin"] == ours and answer.headers["ratelimit"].startswith('"address";r=')
    assert service.metric("http_requests_total", method="POST", path="/api/v1/events", status="401") == 1


def test_a_long_body_of_whom_we_know_is_read(wire, installation):
    body = json.dumps([{"type": "step"}] * 20_000).encode()
    wire.send(head("POST", "/api/v1/events", f"Content-Length: {len(body)}", f"X-API-Key: {installation.key}", "Expect: 100-continue"))
    assert wire.answer().status == 100
    wire.send(body)
    assert wire.answer().status == 200


def test_nobody_is_asked_to_send_a_body_that_is_refused(wire):
    wire.send(head("POST", "/api/v1/events", "Content-Length: 10000000", "Expect: 100-continue"))
    assert wire.answer().status == 401


# Browsers.

def test_answers_are_for_who_asked_and_no_page(api):
    for path in ("/api/v1/teams", "/api/v1/nothing", "/api/v1/auth/me"):
        headers = api.get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff" and headers["Cache-Control"] == "no-store" and headers["Referrer-Policy"] == "no-referrer"
        assert headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert "style-src" in api.get("/docs").headers["Content-Security-Policy"]
    assert "max-age" in api.get("/openapi.json").headers["Cache-Control"]


def test_no_page_of_another_origin_reads_an_answer_unless_it_is_named(serve, api):
    ours, theirs = "https://console.example.com", "https://evil.example.com"
    service = serve(HTTP_CORS_ORIGINS=ours)
    preflight = {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "x-api-key"}
    assert "Access-Control-Allow-Origin" not in api.get("/api/v1/teams", headers={"Origin": ours}).headers
    answer = service.api().get("/api/v1/teams", headers={"Origin": ours})
    assert answer.headers["Access-Control-Allow-Origin"] == ours and "Origin" in answer.headers["Vary"]
    assert "Access-Control-Allow-Credentials" not in answer.headers
    assert service.api("cgv_wrong").get("/api/v1/teams", headers={"Origin": ours}).headers["Access-Control-Allow-Origin"] == ours, "errors can be read, too"
    allowed = requests.options(service.url + "/api/v1/agents", headers=preflight | {"Origin": ours}, timeout=10)
    assert allowed.status_code == 204 and "PUT" in allowed.headers["Access-Control-Allow-Methods"] and "X-API-Key" in allowed.headers["Access-Control-Allow-Headers"]
    for headers in ({"Origin": theirs}, {"Origin": ours + ".example.org"}, {"Origin": "null"}, {}):
        for answer in (service.api().get("/api/v1/teams", headers=headers), requests.options(service.url + "/api/v1/agents", headers=preflight | headers, timeout=10)):
            assert "Access-Control-Allow-Origin" not in answer.headers and "Origin" in answer.headers["Vary"]
