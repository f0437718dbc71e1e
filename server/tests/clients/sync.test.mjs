// A PouchDB application syncs live with the server, both ways, and nothing is lost on the way.
import { test, before, after } from 'node:test';
import assert from 'node:assert/strict';
import { randomBytes, createHash } from 'node:crypto';
import { createRequire } from 'node:module';
import PouchDB from 'pouchdb';
import memory from 'pouchdb-adapter-memory';
import { Settee, contents, eventually } from './settee.mjs';

PouchDB.plugin(memory);
const countries = createRequire(import.meta.url)('world-countries')
  .map(country => ({ _id: country.cca3, ...country }));

let server;
before(async () => { server = await Settee.start(); });
after(() => server.stop());

let count = 0;
const local = () => new PouchDB(`local-${process.pid}-${count++}`, { adapter: 'memory' });
/** A database of the server. After each batch PouchDB's replicator asks its source for `info()`, to tell how far it
 *  is, and hangs a `then` on it whose outcome nobody looks at (`finishBatch` in pouchdb-replication): with the server
 *  gone at that moment it is a rejection without a handler, which fails the test. Here what hangs on `info()` by
 *  `then` has a handler. `await` does not go through it: tests see what they ask for, and every other rejection
 *  still fails. */
const remote = name => {
  const db = new PouchDB(`${server.url}/${name}`);
  const { info } = db;
  db.info = (...args) => {
    const asked = info.apply(db, args);
    asked.then = (...handlers) => {
      const next = Promise.prototype.then.apply(asked, handlers);
      Promise.prototype.catch.call(next, () => {});
      return next;
    };
    return asked;
  };
  return db;
};
const live = (a, b) => {
  const sync = a.sync(b, { live: true, retry: true, heartbeat: 1000, back_off_function: () => 100 });
  sync.on('error', error => { if (error?.name !== 'canceled') throw error; });
  return sync;
};
const stop = sync => new Promise(resolve => { sync.on('complete', resolve); sync.cancel(); });
const same = async (a, b) => assert.deepEqual(await contents(a), await contents(b));

test('250 nested documents travel both ways and stay the same', async () => {
  const here = local(), there = remote('countries');
  await here.bulkDocs(countries.slice(0, 125));
  await there.bulkDocs(countries.slice(125));
  await here.sync(there);
  assert.equal((await here.info()).doc_count, countries.length);
  assert.equal((await there.info()).doc_count, countries.length);
  await same(here, there);
  const { _rev, ...aland } = await there.get('ALA');
  assert.deepEqual(aland, countries.find(({ _id }) => _id === 'ALA'));
  const again = await here.sync(there);
  assert.equal(again.push.docs_written + again.pull.docs_written, 0, 'a second round has nothing to do');
});

test('live sync survives SIGKILL of the server with edits on both sides', async () => {
  const here = local(), there = remote('live');
  await there.info();
  const sync = live(here, there);
  await here.bulkDocs(countries.slice(0, 60));
  await eventually(async () => assert.equal((await there.info()).doc_count, 60));

  await server.kill();
  await here.bulkDocs(countries.slice(60, 120));
  const fra = await here.get(countries[0]._id);
  await here.put({ ...fra, edited: 'while apart' });
  await here.remove(await here.get(countries[1]._id));
  await server.launch();

  await there.bulkDocs(countries.slice(120, 180));
  await eventually(async () => {
    assert.equal((await there.info()).doc_count, 179);
    assert.equal((await here.info()).doc_count, 179);
  });
  await server.restart();
  await there.put({ _id: 'after-restart', value: 1 });
  await eventually(() => here.get('after-restart'));
  await here.put({ ...(await here.get('after-restart')), value: 2 });
  await eventually(async () => assert.equal((await there.get('after-restart')).value, 2));
  await stop(sync);
  await same(here, there);
  assert.equal((await there.get(countries[0]._id)).edited, 'while apart');
  await assert.rejects(there.get(countries[1]._id), { status: 404, reason: 'deleted' });
});

test('conflicts arise apart, are seen on both sides and resolved by the client', async () => {
  const here = local(), there = remote('conflicts');
  const first = await here.put({ _id: 'doc', from: 'start' });
  await here.sync(there);
  for (let i = 0; i < 3; i++) {
    await here.put({ _id: 'doc', _rev: (await here.get('doc'))._rev, from: 'here', i });
    await there.put({ _id: 'doc', _rev: (await there.get('doc'))._rev, from: 'there', i });
  }
  await here.bulkDocs([{ _id: 'doc', _rev: '2-' + 'f'.repeat(32), from: 'elsewhere',
    _revisions: { start: 2, ids: ['f'.repeat(32), first.rev.slice(2)] } }], { new_edits: false });
  await here.sync(there);
  const seen = await there.get('doc', { conflicts: true });
  assert.equal(seen._conflicts.length, 2);
  assert.deepEqual(await here.get('doc', { conflicts: true }), seen);
  await same(here, there);

  await here.put({ _id: 'doc', _rev: seen._rev, from: 'merged' });
  for (const rev of seen._conflicts) await here.remove('doc', rev);
  await here.sync(there);
  const resolved = await there.get('doc', { conflicts: true });
  assert.equal(resolved.from, 'merged');
  assert.equal(resolved._conflicts, undefined);
  await same(here, there);
});

test('attachments of 0 B, 1 KiB and 20 MiB travel both ways', async () => {
  const here = local(), there = remote('attachments');
  const bytes = { empty: Buffer.alloc(0), small: randomBytes(1024), large: randomBytes(20 * 1024 * 1024) };
  for (const [name, data] of Object.entries(bytes)) {
    await here.put({ _id: `up-${name}`, _attachments: { file: { content_type: 'application/octet-stream', data } } });
    await there.put({ _id: `down-${name}`, _attachments: { file: { content_type: 'application/octet-stream', data } } });
  }
  await here.put({ _id: 'text', _attachments: { 'über/größe.txt': { content_type: 'text/plain', data: Buffer.from('ä'.repeat(5000)) } } });
  await here.sync(there);
  for (const [name, data] of Object.entries(bytes)) {
    const hash = content => createHash('md5').update(content).digest('hex');
    for (const db of [here, there]) for (const way of ['up', 'down']) {
      assert.equal(hash(await db.getAttachment(`${way}-${name}`, 'file')), hash(data), `${way}-${name}`);
    }
  }
  assert.equal((await there.getAttachment('text', 'über/größe.txt')).toString(), 'ä'.repeat(5000));
  // A further revision carries the attachment along as a stub.
  await there.put({ ...(await there.get('up-large')), note: 'edited' });
  await here.sync(there);
  assert.equal((await here.get('up-large')).note, 'edited');
  assert.equal((await here.getAttachment('up-large', 'file')).length, bytes.large.length);
  const stubs = async db => Object.fromEntries((await db.allDocs({ include_docs: true })).rows
    .filter(({ id }) => id !== 'text')
    .map(({ id, doc }) => [id, [doc._rev, doc._attachments.file.digest, doc._attachments.file.length]]));
  assert.deepEqual(await stubs(here), await stubs(there));
});

test('design documents, deletions and odd ids come along', async () => {
  const here = local(), there = remote('odd');
  const ids = ['a/b', 'ünïcödé', '日本', 'with blank', 'plus+sign', 'per%cent', '🙂', 'a&b=c?d#e', '"quoted"'];
  await here.bulkDocs(ids.map(_id => ({ _id, value: _id })));
  await here.put({ _id: '_design/app', views: { by: { map: 'function (doc) { emit(doc.value); }' } }, language: 'javascript' });
  await there.put({ _id: '_design/other', filters: { f: 'function (doc) { return true; }' } });
  await here.put({ _id: 'gone', value: 1 });
  await here.sync(there);
  await there.remove(await there.get('gone'));
  await there.remove(await there.get('日本'));
  await here.sync(there);
  await same(here, there);
  for (const id of ids.filter(id => id !== '日本')) assert.equal((await there.get(id)).value, id);
  assert.ok((await here.get('_design/other')).filters.f);
  await assert.rejects(here.get('gone'), { status: 404 });
});

test('a feed of changes follows live over a restart', async () => {
  const there = remote('feed');
  await there.info();
  const seen = [];
  const feed = there.changes({ live: true, since: 'now', include_docs: true, heartbeat: 500 });
  feed.on('change', ({ id }) => seen.push(id)).on('error', () => {});
  for (let i = 0; i < 20; i++) await there.put({ _id: `doc-${i}` });
  await eventually(() => assert.equal(seen.length, 20));
  feed.cancel();
});
