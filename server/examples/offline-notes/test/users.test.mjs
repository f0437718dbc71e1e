// Registration and log-in, in memory and in PostgreSQL.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { Users } from '../users.mjs';
import { missing, postgres, startPostgres } from './support.mjs';

async function check(users) {
  assert.equal(await users.register('anna', 'correct horse'), true);
  assert.equal(await users.register('anna', 'another one'), false, 'a name is given once');
  assert.equal(await users.verify('anna', 'correct horse'), true);
  assert.equal(await users.verify('anna', 'another one'), false);
  assert.equal(await users.verify('otto', 'correct horse'), false);
  await users.register("o'tto; drop table notes_users", 'correct horse');
  assert.equal(await users.verify("o'tto; drop table notes_users", 'correct horse'), true);
  await users.remove('anna');
  assert.equal(await users.verify('anna', 'correct horse'), false);
}

test('users in memory', async () => {
  const users = await Users.open();
  await check(users);
  await users.close();
});

test('users in PostgreSQL', { skip: !postgres() && missing('PostgreSQL') }, async () => {
  const database = await startPostgres();
  try {
    const users = await Users.open(database.url);
    await check(users);
    await users.register('lena', 'correct horse');
    await users.close();
    const later = await Users.open(database.url);
    assert.equal(await later.verify('lena', 'correct horse'), true, 'they outlive the server');
    await later.close();
  } finally { await database.stop(); }
});
