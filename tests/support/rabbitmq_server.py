"""A real RabbitMQ node of our own, on free ports, with its data in a directory that the test gave.

    with RabbitMqServer(shared_directory) as broker:
        broker.publish("", "orders", "a body", delivery_mode=2)
        broker.kill()
        broker.start()    # on the same port, with what was durable

It takes seconds to start, so tests had better share one. It has no plugins, an epmd of its own, and reads nothing in /etc/rabbitmq.
"""

import contextlib
import logging
import os
import secrets
import signal
import socket
import subprocess
from pathlib import Path
from urllib.parse import quote

import pika
from pika.adapters.utils.connection_workflow import AMQPConnectorException
from pika.exceptions import AMQPError

from installation import wait_until
from ports import ReservedPort

SCRIPTS = Path("/usr/lib/rabbitmq/bin")  # those in /usr/sbin change to the user rabbitmq
START_SECONDS = 60
STOP_SECONDS = 30
CALL_SECONDS = 30
LOG_TAIL_CHARACTERS = 4000

# When it boots, RabbitMQ loads all modules of its applications one by one, in 5 s or more. Those of an application loaded together, it is 1 s.
PRELOAD = """
Needed = fun Add(Name, Found) ->
    case lists:member(Name, Found) of
        true -> Found;
        false -> application:load(Name), {ok, Others} = application:get_key(Name, applications), lists:foldl(Add, [Name | Found], Others)
    end
end,
Names = lists:foldl(Needed, [], [mnesia, rabbit]),
[code:ensure_modules_loaded(Modules) || Name <- Names, {ok, Modules} <- [application:get_key(Name, modules)]],
[application:unload(Name) || Name <- Names].
"""


class RabbitMqServer:
    """Start, freeze and kill it as a test wants; the ports stay. `certificate` is a pair of files, for a `tls_port` beside `port`."""

    def __init__(self, directory, certificate=None):
        name = f"rabbitmq-{secrets.token_hex(4)}"
        self.directory = Path(directory).resolve() / name
        self.directory.mkdir()
        self.log = self.directory / "output"
        self.user, self.password = "cognive", "p@ss/w:rd"
        self.process = None
        self._epmd = None
        self._reserved = [ReservedPort() for _ in range(4)]
        self.port, tls_port, self._epmd_port, distribution_port = (each.number for each in self._reserved)
        self.tls_port = tls_port if certificate else None
        self._write_files(certificate)
        loopback = "-kernel inet_dist_use_interface {127,0,0,1}"
        # The whole environment of the children: a variable of ours could make it another node.
        environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": self.directory,  # the cookie is there
            "RABBITMQ_NODENAME": f"{name}@localhost", "RABBITMQ_DIST_PORT": distribution_port,
            "RABBITMQ_CONF_ENV_FILE": self.directory / "none", "RABBITMQ_CONFIG_FILE": self.directory / "none",
            "RABBITMQ_ADVANCED_CONFIG_FILE": self.directory / "advanced.config", "RABBITMQ_ENABLED_PLUGINS_FILE": self.directory / "enabled_plugins",
            "RABBITMQ_MNESIA_BASE": self.directory / "data", "RABBITMQ_LOG_BASE": self.directory, "RABBITMQ_LOGS": "-",
            "RABBITMQ_ALLOW_INPUT": 1,  # the script becomes the Erlang VM instead of waiting for it
            "RABBITMQ_NODE_ONLY": 1,  # and leaves it to us to boot RabbitMQ
            "RABBITMQ_SCHEDULER_BUSY_WAIT_THRESHOLD": "none", "RABBITMQ_SCHEDULER_BIND_TYPE": "u",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": loopback, "RABBITMQ_CTL_ERL_ARGS": f"{loopback} +sbwt none",
            "RABBITMQ_CTL_DIST_PORT_MIN": 0, "RABBITMQ_CTL_DIST_PORT_MAX": 0,
            "ERL_EPMD_PORT": self._epmd_port, "ERL_EPMD_ADDRESS": "127.0.0.1", "ERL_FLAGS": "-start_epmd false",  # we do, to know its pid
            "ERL_CRASH_DUMP_BYTES": 0}
        self._environment = {variable: str(value) for variable, value in environment.items()}

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_):
        self.kill()
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd.wait(timeout=10)
            self._epmd = None
        for each in self._reserved:
            each.release()

    def _write_files(self, certificate):
        settings = [f'{{tcp_listeners, [{{"127.0.0.1", {self.port}}}]}}', f'{{default_user, <<"{self.user}">>}}', f'{{default_pass, <<"{self.password}">>}}',
                    "{disk_free_limit, 1000000}"]
        if certificate:
            chain, key = (Path(each).resolve() for each in certificate)
            settings += [f'{{ssl_listeners, [{{"127.0.0.1", {self.tls_port}}}]}}',
                         f'{{ssl_options, [{{cacertfile, "{chain}"}}, {{certfile, "{chain}"}}, {{keyfile, "{key}"}}, {{verify, verify_none}}]}}']
        (self.directory / "advanced.config").write_text(f"[{{rabbit, [{', '.join(settings)}]}}].\n")
        (self.directory / "enabled_plugins").write_text("[].\n")
        cookie = self.directory / ".erlang.cookie"
        cookie.write_text(secrets.token_hex(16))
        cookie.chmod(0o400)

    # --- the process --------------------------------------------------------------------------------------------------

    def start(self):
        """Start and wait until it lets a client in."""
        assert self.process is None or self.process.poll() is not None, "it runs already"
        if self._epmd is None:
            self._epmd = self._spawn("epmd", "-port", self._epmd_port, "-address", "127.0.0.1")
        self.process = self._spawn(SCRIPTS / "rabbitmq-server", "-noinput", "-eval", PRELOAD, "-s", "rabbit", "boot")
        try:
            wait_until(self._answers, "RabbitMQ answers", START_SECONDS)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log.read_text(errors='replace')[-LOG_TAIL_CHARACTERS:]}") from None
        assert os.readlink(f"/proc/{self.process.pid}/exe").endswith("/beam.smp"), "the script did not become the Erlang VM, which kill() must hit"
        return self

    def stop(self):
        """An orderly end, also of a frozen one."""
        if self.process is not None and self.process.poll() is None:
            family = self._family()
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            self.process.wait(timeout=STOP_SECONDS)
            _wait_for_end(family)

    def kill(self):
        """SIGKILL of the Erlang VM; its helpers end by that."""
        if self.process is not None and self.process.poll() is None:
            family = self._family()
            self.process.kill()
            self.process.wait(timeout=10)
            _wait_for_end(family)

    def freeze(self):
        """It keeps its connections and answers nothing; the system still accepts new ones."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        """The end of that."""
        self.process.send_signal(signal.SIGCONT)

    def control(self, *arguments):
        """What rabbitmqctl prints, without headings: control("set_vm_memory_high_watermark", 0) blocks publishers, 0.4 lets them go on."""
        result = subprocess.run([SCRIPTS / "rabbitmqctl", "--silent", *map(str, arguments)], env=self._environment, cwd=self.directory, stdin=subprocess.DEVNULL,
                                capture_output=True, text=True, timeout=60, check=False)
        assert result.returncode == 0, f"rabbitmqctl {arguments}: {result.stdout}{result.stderr}"
        return result.stdout

    def _spawn(self, *command):
        with open(self.log, "a") as output:
            return subprocess.Popen([str(word) for word in command], env=self._environment, cwd=self.directory, stdin=subprocess.DEVNULL, stdout=output, stderr=output)

    def _answers(self):
        assert self.process.poll() is None, f"exited with {self.process.returncode}"
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()  # pika would log each refusal
            with self.connection(stack_timeout=5):
                return True
        except (AMQPError, AMQPConnectorException, OSError):
            return False

    def _family(self):
        """The descendants of the process; their groups and sessions are their own."""
        processes = _processes()
        found = {self.process.pid}
        while more := {pid for pid, (parent, _) in processes.items() if parent in found} - found:
            found |= more
        return {(pid, processes[pid][1]) for pid in found - {self.process.pid}}

    # --- a client -----------------------------------------------------------------------------------------------------

    def url(self, port=None, vhost="/", tls=False):
        """Its URL; `port` of a proxy before it. The virtual host `/` is written as Celery does, with two slashes at the end."""
        own = self.tls_port if tls else self.port
        return (f"{'amqps' if tls else 'amqp'}://{quote(self.user, safe='')}:{quote(self.password, safe='')}@127.0.0.1:{port or own}/"
                f"{'/' if vhost == '/' else quote(vhost, safe='')}")

    @contextlib.contextmanager
    def connection(self, **parameters):
        """A pika.BlockingConnection; `parameters` are those of pika.ConnectionParameters, such as virtual_host."""
        defaults = {"host": "127.0.0.1", "port": self.port, "credentials": pika.PlainCredentials(self.user, self.password),
                    "blocked_connection_timeout": CALL_SECONDS}
        opened = pika.BlockingConnection(pika.ConnectionParameters(**defaults | parameters))
        try:
            yield opened
        finally:
            with contextlib.suppress(AMQPError):  # it may have been lost
                opened.close()

    def publish(self, exchange, routing_key, body, headers=None, **properties):
        """Publish and wait until the node has confirmed it; `properties` are those of pika.BasicProperties, such as delivery_mode=2."""
        with self.connection() as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            channel.basic_publish(exchange, routing_key, body, pika.BasicProperties(headers=headers, **properties))

    def get_all(self, queue, count=None, seconds=10):
        """Take messages off a queue until there are `count`, or the time has passed; (method, properties, body) of each."""
        found = []
        with self.connection() as connection:
            channel = connection.channel()
            channel.basic_qos(prefetch_count=count or 0)
            tag = channel.basic_consume(queue, lambda _, *message: found.append(message))
            with contextlib.suppress(AssertionError):
                wait_until(lambda: connection.process_data_events(time_limit=0.1) or (count is not None and len(found) >= count), "messages", seconds)
            channel.basic_cancel(tag)  # before the acknowledgement, which would bring more
            if found:
                channel.basic_ack(found[-1][0].delivery_tag, multiple=True)
        return found

    def depth(self, queue):
        """How many messages of a queue are ready, that is not with a consumer."""
        with self.connection() as connection:
            return connection.channel().queue_declare(queue, passive=True).method.message_count


def _processes():
    """The parent and the start time of each process, which together with its pid is nobody else's."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                state, parent, *others = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
                if state not in "ZX":
                    found[int(entry.name)] = int(parent), int(others[17])
    return found


def _wait_for_end(family):
    """Wait until helpers have ended; end those that do not, which would only be a fault of theirs."""
    def left():
        processes = _processes()
        return {pid for pid, started in family if processes.get(pid, (0, 0))[1] == started}

    try:
        wait_until(lambda: not left(), "the helpers of RabbitMQ end", 5)
    except AssertionError:
        for pid in left():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
