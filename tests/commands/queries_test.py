"""Every named query of the product can be prepared against the migrated database, and no two have one name."""

from named_queries import faults_of_preparing


def test_no_two_queries_have_one_name(queries):
    names = [name for found in queries.values() for name, _ in found]
    assert sorted(names) == sorted(set(names))


def test_every_query_can_be_prepared_against_the_migrated_database(database, queries):
    database.migrate("upgrade")
    # Asked only where TimescaleDB is; timescaledb_test.py prepares all of them there.
    assert faults_of_preparing(database, queries, spared={"catalogue_hypertables"}) == []
