"""Writes revisions as developers do; `database` is that of tests/commands."""

import re


def head_of(database):
    """The one head of the revisions in force."""
    return database.migrate("heads").split()[0]


def write(database, message, upgrade, downgrade="", transaction=True, compatible_from=None):
    """A new revision with this content, as somebody writes it by hand; its id."""
    path = database.workplace / database.migrate("revision", "-m", message).strip()
    text = path.read_text().replace("-- upgrade\n", f"-- upgrade\n{upgrade}\n").replace("-- downgrade\n", f"-- downgrade\n{downgrade}\n")
    if not transaction:
        text = text.replace("-- transaction: yes", "-- transaction: no")
    if compatible_from:
        text = text.replace("-- upgrade\n", f"-- compatible-from: {compatible_from}\n-- upgrade\n", 1)
    path.write_text(text)
    database.migrate("rehash")
    return re.search(r"^-- revision: (\S+)$", text, re.M)[1]


def branch(database, migrations, message, upgrade, downgrade):
    """A revision that somebody else wrote after the same head as the last one; its id."""
    last = sorted(migrations.glob("*.sql"))[-1]
    twin = "29990101_0000_" + message.encode().hex()[:4]
    text = re.sub(r"-- revision: .*", f"-- revision: {twin}", last.read_text())
    text = re.sub(r"-- upgrade\n.*", lambda _: f"-- upgrade\n{upgrade}\n-- downgrade\n{downgrade}\n", text, flags=re.S)
    (migrations / f"{twin}_{message}.sql").write_text(text)
    database.migrate("rehash")
    return twin
