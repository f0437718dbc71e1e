// The calls of nano, CouchDB's official client for node, that an application makes.
import { test, before, after } from 'node:test';
import assert from 'node:assert/strict';
import Nano from 'nano';
import { Settee } from './settee.mjs';

let server, couch;
before(async () => { server = await Settee.start(); couch = Nano(server.url); });
after(() => server.stop());

test('databases are created, described, listed and destroyed', async () => {
  assert.equal((await couch.info()).couchdb, 'Welcome');
  await couch.db.create('one');
  await couch.db.create('two/with-slash_and$(odd)+chars');
  const own = (await couch.db.list()).filter(name => !name.startsWith('_'));
  assert.deepEqual(own, ['one', 'two/with-slash_and$(odd)+chars']);
  assert.equal((await couch.db.get('one')).doc_count, 0);
  await assert.rejects(couch.db.create('one'), { statusCode: 412, error: 'file_exists' });
  await assert.rejects(couch.db.create('Upper'), { statusCode: 400, error: 'illegal_database_name' });
  await couch.db.destroy('two/with-slash_and$(odd)+chars');
  await assert.rejects(couch.db.get('two/with-slash_and$(odd)+chars'), { statusCode: 404 });
  assert.equal((await couch.uuids(3)).uuids.length, 3);
});

test('documents are written, read, listed, copied and removed', async () => {
  await couch.db.create('docs');
  const db = couch.use('docs');
  const { rev } = await db.insert({ crazy: true }, 'rabbit');
  await assert.rejects(db.insert({ crazy: false }, 'rabbit'), { statusCode: 409, error: 'conflict' });
  const second = await db.insert({ _rev: rev, crazy: false }, 'rabbit');
  assert.equal((await db.get('rabbit')).crazy, false);
  assert.equal((await db.get('rabbit', { rev })).crazy, true);
  assert.equal((await db.head('rabbit')).etag, `"${second.rev}"`);
  await db.bulk({ docs: Array.from({ length: 100 }, (_, n) => ({ _id: `n${String(n).padStart(3, '0')}`, n })) });
  const list = await db.list({ include_docs: true, startkey: 'n010', limit: 5 });
  assert.deepEqual(list.rows.map(({ doc }) => doc.n), [10, 11, 12, 13, 14]);
  assert.equal(list.total_rows, 101);
  const fetched = await db.fetch({ keys: ['n001', 'missing', 'n002'] });
  assert.deepEqual(fetched.rows.map(row => row.error ?? row.doc.n), [1, 'not_found', 2]);
  const revs = await db.fetchRevs({ keys: ['n001'] });
  assert.equal(revs.rows[0].value.rev.slice(0, 2), '1-');
  await db.destroy('rabbit', second.rev);
  await assert.rejects(db.get('rabbit'), { statusCode: 404, reason: 'deleted' });
  const { results, last_seq } = await db.changes();
  assert.equal(results.length, 101);
  assert.equal((await db.changes({ since: last_seq })).results.length, 0);
});

test('attachments go up and down, as buffer and as multipart', async () => {
  await couch.db.create('files');
  const db = couch.use('files');
  const first = await db.attachment.insert('doc', 'rabbit.txt', Buffer.from('rabbit'), 'text/plain');
  assert.equal((await db.attachment.get('doc', 'rabbit.txt')).toString(), 'rabbit');
  await db.attachment.destroy('doc', 'rabbit.txt', { rev: first.rev });
  await db.multipart.insert({ foo: 'bar' }, [
    { name: 'one.bin', data: Buffer.from([0, 1, 2, 255]), content_type: 'application/octet-stream' },
    { name: 'two.txt', data: Buffer.from('zwei'), content_type: 'text/plain' }], 'multi');
  const doc = await db.get('multi', { attachments: true });
  assert.deepEqual(Buffer.from(doc._attachments['one.bin'].data, 'base64'), Buffer.from([0, 1, 2, 255]));
  assert.equal((await db.attachment.get('multi', 'two.txt')).toString(), 'zwei');
});

test('a session cookie signs in', async () => {
  const plain = Nano({ url: server.origin, jar: true });
  await assert.rejects(plain.db.list(), { statusCode: 401 });
  await assert.rejects(plain.auth('admin', 'wrong'), { statusCode: 401 });
  await plain.auth('admin', 'secret');
  assert.equal((await plain.session()).userCtx.name, 'admin');
  assert.ok(Array.isArray(await plain.db.list()));
});

test('the follower sees changes as they happen', async () => {
  await couch.db.create('followed');
  const db = couch.use('followed');
  const seen = new Promise((resolve, reject) => {
    db.changesReader.start({ since: 'now', timeout: 10_000 }).on('change', resolve).on('error', reject);
  });
  await new Promise(resolve => setTimeout(resolve, 300));
  await db.insert({ n: 1 }, 'news');
  assert.equal((await seen).id, 'news');
  db.changesReader.stop();
});

test('a user logs in, works with the cookie and loses it with the password', async () => {
  await couch.db.create('shared');
  await couch.request({ db: 'shared', method: 'put', path: '_security', body: { members: { names: ['anna'] } } });
  const users = couch.use('_users');
  const account = { _id: 'org.couchdb.user:anna', name: 'anna', password: 'pw', roles: ['staff'], type: 'user' };
  const { rev } = await users.insert(account);
  const anna = Nano({ url: server.origin });
  await assert.rejects(anna.use('shared').list(), { statusCode: 401 });
  await assert.rejects(anna.auth('anna', 'wrong'), { statusCode: 401 });
  assert.deepEqual((await anna.auth('anna', 'pw')).roles, ['staff']);
  assert.equal((await anna.session()).userCtx.name, 'anna');
  await anna.use('shared').insert({ by: 'anna' }, 'note');
  await users.insert({ ...account, _rev: rev, password: 'newer' });
  assert.equal((await anna.session()).userCtx.name, null);
  await assert.rejects(anna.use('shared').get('note'), { statusCode: 401 });
});
