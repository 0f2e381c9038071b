"""The root key of an installation as the database has it, opened as docs/security.md says."""

import hmac
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM


def master_key_id(master_key):
    """By which a master key is known."""
    return hmac.digest(master_key.encode(), b"cognive/master-key/id", "sha256")[:8].hex()


def opened(master_key, sealed):
    """The root key in a row of `master_keys`."""
    key = hmac.digest(master_key.encode(), b"cognive/root-key/1", "sha256")
    return AESGCM(key).decrypt(bytes(sealed[:12]), bytes(sealed[12:]), master_key_id(master_key).encode())


def root_key(installation):
    """The root key of a running installation."""
    master_key = Path(installation.variables["COGNIVE_MASTER_KEY_FILE"]).read_text().strip()
    ((sealed,),) = installation.sql("SELECT sealed_root_key FROM master_keys WHERE id = %s", master_key_id(master_key))
    return opened(master_key, bytes(sealed))
