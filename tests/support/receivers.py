"""The other sides of alerts: a server that webhooks are posted to, and a mail server, both on free ports of 127.0.0.1."""

import asyncio
import base64
import email
import email.policy
import hashlib
import hmac
import http.server
import json
import threading
import time

from aiosmtpd.smtp import SMTP


class WebhookReceiver:
    """Collects requests and answers them with what `answer` says: a status, or a function of the request."""

    def __init__(self, answer=204):
        self.answer = answer
        self.requests = []
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                request = {"path": self.path, "headers": {name.lower(): value for name, value in self.headers.items()}, "body": body, "at": time.monotonic()}
                receiver.requests.append(request)
                status = receiver.answer(request) if callable(receiver.answer) else receiver.answer
                self.send_response(status)
                if 300 <= status < 400:
                    self.send_header("Location", receiver.url + "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        """Nothing listens any more."""
        self.server.shutdown()
        self.server.server_close()

    def messages(self):
        """The bodies that came, and under which ids."""
        return [(request["headers"]["webhook-id"], json.loads(request["body"])) for request in list(self.requests)]


def verify_signature(request, secret, now=None):
    """Whether one of the signatures of a request was made with a secret, as the Standard Webhooks specification tells receivers to check."""
    headers = request["headers"]
    assert abs((now or time.time()) - int(headers["webhook-timestamp"])) < 300
    key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + request["body"]
    wanted = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
    return any(hmac.compare_digest(one, "v1," + wanted) for one in headers["webhook-signature"].split(" "))


class MailServer:
    """Keeps the mail that it takes; says `refusal` to recipients while there is one."""

    def __init__(self):
        self.mails = []
        self.refusal = None
        self.loop = asyncio.new_event_loop()
        self.server = self.loop.run_until_complete(self.loop.create_server(lambda: SMTP(self, loop=self.loop), "127.0.0.1", 0))
        self.url = f"smtp://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    async def handle_RCPT(self, server, session, envelope, address, options):
        if self.refusal:
            return self.refusal
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        self.mails.append((envelope.mail_from, envelope.rcpt_tos, email.message_from_bytes(envelope.content, policy=email.policy.default)))
        return "250 OK"

    def stop(self):
        """Nothing listens any more."""
        self.loop.call_soon_threadsafe(self.server.close)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
