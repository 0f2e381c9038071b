"""The audit trail in the object storage: what was recorded can be proved without the database, and what was changed there is found."""

import gzip
import hashlib
import json

import pytest

from deployment import Deployment
from installation import clean_environment, run_cognive, wait_until

TAMPERED = 3


class Archived:
    """A database, and a service that archives its trail: at its start, and then each minute."""

    def __init__(self, deployment, settings):
        self.deployment, self.settings = deployment, settings
        self.service = None

    def restart(self):
        """Start the service, again; its API."""
        if self.service is not None:
            assert self.service.stop() == 0
        self.service = self.deployment.serve(**self.settings)
        self.service.wait_ok()
        return self.service.api()

    def verify(self, *flags, **extra):
        """`cognive audit verify --from-storage`, without the database."""
        return run_cognive("audit", "verify", "--from-storage", *flags, env=clean_environment(**{"COGNIVE_MASTER_KEY": self.deployment.master_key} | self.settings | extra))

    def proved(self):
        """How many entries are proved."""
        done = self.verify("--json")
        assert done.returncode != TAMPERED, done.stdout
        return json.loads(done.stdout)["proved"] if done.returncode == 0 else -1

    def recorded(self):
        """How many there are."""
        return int(self.deployment.primary.sql("SELECT sequence FROM audit_chain")[0][0])

    def settle(self):
        """Until all that is recorded is archived, which is looked for at each start."""
        self.restart()
        wait_until(lambda: self.proved() == self.recorded(), "the trail is archived", 75)


@pytest.fixture
def archived(shared_directory, request):
    """One that archives into a directory."""
    name = request.node.name.replace("[", "-").replace("]", "")[:40]
    with Deployment(shared_directory / name, replicas=0) as deployment:
        yield Archived(deployment, {"STORAGE_DIRECTORY": shared_directory / name / "objects"})


def test_what_is_recorded_is_archived_in_s3_and_proved_without_the_database(ceph, shared_directory):
    with Deployment(shared_directory / "archive-s3", replicas=0) as deployment:
        archived = Archived(deployment, ceph.settings() | {"STORAGE_BUCKET_PREFIX": "archive-"})
        archived.restart().agent()
        archived.settle()
        done = archived.verify()
        assert done.returncode == 0 and f"They are entries 1 to {archived.recorded()}" in done.stdout and "archive-audit-logs-archive" in done.stdout
        archived.restart().agent()
        archived.settle()
        other = archived.verify(COGNIVE_MASTER_KEY="another" * 5)
        assert other.returncode == 1 and "COGNIVE_MASTER_KEY" in other.stderr and "another" * 5 not in other.stderr


def objects_of(archived, prefix):
    """Files of a directory's bucket, in order."""
    root = archived.settings["STORAGE_DIRECTORY"] / "audit-logs-archive" / "objects"
    return sorted((path for path in root.rglob("*") if path.is_file() and prefix in str(path.relative_to(root))), key=lambda path: path.name)


def test_segments_say_what_was_recorded_and_manifests_what_they_are(archived):
    agents = []
    for _ in range(3):
        agents.append(archived.restart().agent()["id"])
        archived.settle()
    manifests = [json.loads(path.read_bytes()) for path in objects_of(archived, "manifests")]
    segments = [path.read_bytes() for path in objects_of(archived, "segments")]
    assert len(manifests) == len(segments) >= 3
    entries, expected = [], 1
    for manifest, segment in zip(manifests, segments, strict=True):
        assert manifest["first"] == expected and manifest["bytes"] == len(segment) and manifest["sha256"] == hashlib.sha256(segment).hexdigest()
        lines = [json.loads(line) for line in gzip.decompress(segment).splitlines()]
        found = [line["entry"] for line in lines if "entry" in line]
        assert [one["sequence"] for one in found] == list(range(manifest["first"], manifest["last"] + 1))
        assert lines[0]["master_key"] and lines[1]["checkpoint"] == expected - 1 and lines[-1]["checkpoint"] == manifest["last"]
        entries += found
        expected = manifest["last"] + 1
    assert set(agents) <= {one["resource_id"] for one in entries if one["action"] == "agent_create"}
    assert len({manifest["public_key"] for manifest in manifests}) == 1


def test_whatever_is_changed_in_the_archive_is_found(archived):
    for _ in range(3):
        archived.restart().agent()
        archived.settle()
    manifests, segments = objects_of(archived, "manifests"), objects_of(archived, "segments")
    assert len(segments) >= 3

    def broken(change, *paths):
        kept = {path: path.read_bytes() for path in paths}
        change()
        done = archived.verify("--json")
        for path, data in kept.items():
            path.write_bytes(data)
        assert archived.verify().returncode == 0, "and nothing else was"
        assert done.returncode == TAMPERED, (done.stdout, done.stderr)
        found = json.loads(done.stdout)
        assert found["proved"] == (found["last"] - found["first"] + 1 if found["segments"] else 0)
        return found["broken"]["what"]

    middle, its_manifest = segments[1], manifests[1]
    assert "is not what its manifest says" in broken(lambda: middle.write_bytes(middle.read_bytes()[:-1]), middle)
    assert "is not there" in broken(middle.unlink, middle)
    assert "No manifest names them" in broken(its_manifest.unlink, its_manifest)
    head, = objects_of(archived, "head")
    assert "missing" in broken(lambda: [path.unlink() for path in (segments[-1], manifests[-1])], segments[-1], manifests[-1])
    assert "no manifest" in broken(lambda: head.write_text("garbage"), head)
    assert "is not signed" in broken(lambda: its_manifest.write_text(its_manifest.read_text().replace('"bytes":', '"bytes":1')), its_manifest)
    assert "no manifest" in broken(lambda: its_manifest.write_text("{"), its_manifest)

    def forge():
        """Everything but the signature and the seals is made to fit."""
        text = gzip.decompress(middle.read_bytes()).replace(b"agent_create", b"agent_update")
        middle.write_bytes(gzip.compress(text))
        manifest = json.loads(its_manifest.read_text())
        its_manifest.write_text(json.dumps(manifest | {"bytes": middle.stat().st_size, "sha256": hashlib.sha256(middle.read_bytes()).hexdigest()}))

    assert "is not signed" in broken(forge, middle, its_manifest)


def test_a_damaged_head_stops_archiving_and_says_what_to_do(archived):
    archived.restart().agent()
    archived.settle()
    head, = objects_of(archived, "head")
    head.write_text("garbage")
    archived.restart().agent()
    wait_until(lambda: "head.json is no manifest" in archived.service.log_text() and "Once what is wrong is removed there" in archived.service.log_text(), "the log says so", 75)
    done = archived.verify()
    assert done.returncode == TAMPERED and "audit-logs-archive has been tampered with: head.json" in done.stderr
    head.unlink()
    archived.settle()
    found = json.loads(archived.verify("--json").stdout)
    assert found["intact"] and found["first"] == 1 and found["last"] == archived.recorded() and found["segments"] >= 2


def test_what_expires_object_by_object_is_no_loss(archived):
    for _ in range(2):
        archived.restart().agent()
        archived.settle()
    last = json.loads(objects_of(archived, "manifests")[0].read_text())["last"]
    objects_of(archived, "segments")[0].unlink()
    done = archived.verify()
    assert done.returncode == 0 and f"They are entries {last + 1} to" in done.stdout


def test_old_segments_may_expire(archived):
    for _ in range(2):
        archived.restart().agent()
        archived.settle()
    first, rest = objects_of(archived, "manifests")[0], archived.recorded()
    last = json.loads(first.read_text())["last"]
    first.unlink()
    objects_of(archived, "segments")[0].unlink()
    done = archived.verify()
    assert done.returncode == 0 and f"They are entries {last + 1} to {rest}" in done.stdout


def test_a_trail_that_was_cut_off_is_not_archived_over(archived):
    archived.restart().agent()
    archived.settle()
    before = archived.recorded()
    assert archived.service.stop() == 0
    archived.service = None
    archived.deployment.primary.superuser("SET session_replication_role = replica; DELETE FROM audit_logs WHERE sequence > 1; "
                                          "UPDATE audit_chain SET sequence = 1, seal = (SELECT seal FROM audit_logs WHERE sequence = 1)", database="cognive")
    archived.restart()
    wait_until(lambda: f"but went to {before} when it was archived" in archived.service.log_text(), "the log says so", 40)
    assert json.loads(archived.verify("--json").stdout)["proved"] == before, "what was archived stays"


def test_without_an_archive_it_says_so(archived):
    done = archived.verify()
    assert done.returncode == 1 and "audit-logs-archive" in done.stderr
    done = run_cognive("audit", "verify", "--from-storage", env=clean_environment(COGNIVE_MASTER_KEY="k" * 40))
    assert done.returncode == 1 and "STORAGE_ENDPOINT" in done.stderr
