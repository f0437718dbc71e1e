// Loads the cities into a server, builds five views over them and asks each of them something.
//
//   node cities.mjs [--bench] [--data cities.json] [URL]
//
// URL names the server and who may make databases, http://admin:secret@127.0.0.1:5984 for instance. With
// --bench, each view is built by itself before all five are built together, and queries are timed.
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { VIEWS } from './views.mjs';

/** Documents in one request. */
const BATCH = 1000;
/** Requests under way at a time, when loading and when timing queries. */
const AT_ONCE = 4;
/** How long each kind of query is asked with --bench. */
const QUERY_MS = 2000;

const { values: options, positionals: [url = 'http://127.0.0.1:5984'] } = parseArgs({
  allowPositionals: true,
  options: { bench: { type: 'boolean', default: false }, data: { type: 'string' } },
});
const server = new URL(url);
const authorization = 'Basic ' + Buffer.from(`${decodeURIComponent(server.username)}:${decodeURIComponent(server.password)}`).toString('base64');

async function ask(method, path, body) {
  const answer = await fetch(new URL(path, server.origin), {
    method,
    headers: { 'content-type': 'application/json', ...(server.username && { authorization }) },
    body: body && JSON.stringify(body),
  });
  const json = await answer.json();
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${json.error}, ${json.reason}`);
  return json;
}

/** Asks a view of a design document. */
const view = (database, design, path) => ask('GET', `/${database}/_design/${design}/_view/${path}`);

const number = value => Math.round(value).toLocaleString('en');

/** Does something and says how long it took, and what that is for each of so many. */
async function timed(what, count, work) {
  const start = performance.now();
  const result = await work();
  const seconds = (performance.now() - start) / 1000;
  console.log(`${what.padEnd(44)} ${seconds.toFixed(2).padStart(6)} s  ${number(count / seconds).padStart(9)} documents/s`);
  return { seconds, result };
}

/** The cities as documents. */
async function cities() {
  const file = options.data ?? fileURLToPath(import.meta.resolve('cities.json'));
  const list = JSON.parse(await readFile(file, 'utf8'));
  return list.map((city, n) => ({ _id: `city-${String(n).padStart(6, '0')}`, ...city }));
}

/** Fills a database that is made for it. */
async function load(database, docs) {
  await ask('PUT', `/${database}`);
  const batches = [];
  for (let at = 0; at < docs.length; at += BATCH) batches.push(docs.slice(at, at + BATCH));
  const worker = async () => {
    for (let batch; (batch = batches.shift()); ) {
      const refused = (await ask('POST', `/${database}/_bulk_docs`, { docs: batch })).find(row => !row.ok);
      if (refused) throw new Error(`${refused.id}: ${refused.error}, ${refused.reason}`);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

/** Puts a design document and waits until its views are built. */
async function build(database, design, views) {
  await ask('PUT', `/${database}/_design/${design}`, { views });
  await view(database, design, `${Object.keys(views)[0]}?limit=0`);
}

/** What the views are good for. */
async function show(database) {
  const iceland = await view(database, 'geo', 'by_country?key="IS"&limit=5');
  console.log('\nSome cities of Iceland:', iceland.rows.map(row => row.value).join(', '));
  const names = await view(database, 'geo', `by_name?startkey="züri"&endkey="züri\ufff0"&limit=8`);
  console.log('Names that begin with "züri":', names.rows.map(row => row.key).join(', '));
  const bands = await view(database, 'geo', 'by_latitude?group=true');
  console.log('Cities by latitude:', bands.rows.map(row => `${row.key}0° ${number(row.value.count)}`).join(', '));
  const countries = await view(database, 'geo', 'by_admin?group_level=1');
  const most = countries.rows.toSorted((a, b) => b.value - a.value).slice(0, 5);
  console.log('Countries with most:', most.map(row => `${row.key[0]} ${number(row.value)}`).join(', '));
  const cells = await view(database, 'geo', 'by_cell?group=true');
  const longest = Math.max(...cells.rows.map(row => row.value));
  console.log(`Longest name in ${cells.rows.length} cells of the map: ${longest} characters`);
}

/** Asks the same kind of question for a while. */
async function queries(what, path) {
  const end = performance.now() + QUERY_MS;
  let asked = 0;
  const worker = async () => {
    while (performance.now() < end) await view('cities', 'geo', path(asked++));
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  console.log(`${what.padEnd(44)} ${number(asked / QUERY_MS * 1000).padStart(9)} queries/s`);
}

async function bench(docs, together) {
  console.log();
  await load('cities-singly', docs);
  const alone = {};
  for (const [name, definition] of Object.entries(VIEWS)) {
    const built = await timed(`${name} alone`, docs.length, () => build('cities-singly', name, { [name]: definition }));
    alone[name] = built.seconds;
  }
  const seconds = Object.values(alone);
  const [dearest, all] = [Math.max(...seconds), seconds.reduce((a, b) => a + b)];
  console.log(`five together: ${(together / dearest).toFixed(2)} x the dearest alone, ${(together / all).toFixed(2)} x all of them one by one`);
  await ask('DELETE', '/cities-singly');
  console.log();
  const country = n => docs[n * 7919 % docs.length].country;
  await queries('20 cities of a country', n => `by_country?key="${country(n)}"&limit=20`);
  await queries('a name', n => `by_name?key=${encodeURIComponent(JSON.stringify(docs[n * 7919 % docs.length].name))}`);
  await queries('a country\'s number of cities', n => `by_admin?group_level=1&startkey=["${country(n)}"]&endkey=["${country(n)}",{}]`);
  await queries('all bands of latitude', () => 'by_latitude?group=true');
  await queries('all cells of the map, JavaScript reduce', () => 'by_cell?group=true');
}

const docs = await cities();
await timed(`${number(docs.length)} cities loaded`, docs.length, () => load('cities', docs));
const { seconds } = await timed('five views built', docs.length, () => build('cities', 'geo', VIEWS));
await show('cities');
if (options.bench) await bench(docs, seconds);
