// Two servers between two PouchDBs: what one application writes comes to the other by way of both, and back.
import { test, before, after } from 'node:test';
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import PouchDB from 'pouchdb';
import memory from 'pouchdb-adapter-memory';
import { Settee, contents, eventually } from './settee.mjs';

PouchDB.plugin(memory);

let a, b;
before(async () => { [a, b] = await Promise.all([Settee.start(), Settee.start()]); });
after(() => Promise.all([a.stop(), b.stop()]));

let count = 0;
const local = () => new PouchDB(`middle-${process.pid}-${count++}`, { adapter: 'memory' });
const same = async (one, other) => assert.deepEqual(await contents(one), await contents(other));

test('what one PouchDB pushes to A, the other pulls from B', async () => {
  const here = local(), there = local();
  for (const server of [a, b]) await server.json('PUT', '/notes');
  await b.json('PUT', '/_replicator/from-a', { source: `${a.url}/notes`, target: `${b.url}/notes`, continuous: true });
  await b.json('PUT', '/_replicator/to-a', { source: `${b.url}/notes`, target: `${a.url}/notes`, continuous: true });
  const atA = new PouchDB(`${a.url}/notes`), atB = new PouchDB(`${b.url}/notes`);

  const notes = Array.from({ length: 40 }, (_, n) => ({ _id: `note/${n} ä`, n, text: 'x'.repeat(n) }));
  await here.bulkDocs(notes);
  await here.putAttachment('note/0 ä', 'photo', (await here.get('note/0 ä'))._rev, randomBytes(200_000), 'image/jpeg');
  await here.remove(await here.get('note/1 ä'));
  await here.replicate.to(atA);
  await eventually(async () => {
    await there.replicate.from(atB);
    assert.equal((await there.info()).doc_count, 39);
    await same(here, there);
  });

  // Both edit the same note; the conflict is the same one everywhere.
  const edit = async (db, text) => db.put({ ...await db.get('note/2 ä'), text });
  await edit(here, 'by one');
  await edit(there, 'by the other');
  await here.replicate.to(atA);
  await there.replicate.to(atB);
  await eventually(async () => {
    await here.replicate.from(atA);
    await there.replicate.from(atB);
    const conflicts = await here.get('note/2 ä', { conflicts: true });
    assert.equal(conflicts._conflicts?.length, 1);
    await same(here, there);
    await same(atA, atB);
    await same(here, atA);
  });
});

test('a replication that is asked for once moves a PouchDB from A to B', async () => {
  const here = local(), there = local();
  await here.bulkDocs(Array.from({ length: 40 }, (_, n) => ({ _id: `d${n}`, n })));
  await here.replicate.to(new PouchDB(`${a.url}/once`));
  const done = await b.json('POST', '/_replicate', { source: `${a.url}/once`, target: 'once', create_target: true });
  assert.equal(done.history[0].docs_written, 40);
  await there.replicate.from(new PouchDB(`${b.url}/once`));
  await same(here, there);
  const again = await b.json('POST', '/_replicate', { source: `${a.url}/once`, target: 'once' });
  assert.equal(again.no_changes ?? again.history[0].docs_written === 0, true);
});
