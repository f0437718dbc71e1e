// The web interface in a browser: what an administrator does with it in the first hour.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { Settee } from '../clients/settee.mjs';
import { chromium, missing, openBrowser } from '../../examples/offline-notes/test/support.mjs';

const PATIENCE_MS = 30_000;
const skip = !chromium() && missing('Chromium');
const options = { skip, timeout: 120_000 };

let settee, browser, page;
const complaints = [];

before(async () => {
  if (skip) return;
  settee = await Settee.start();
  browser = await openBrowser();
  browser.context.setDefaultTimeout(PATIENCE_MS);
  page = await browser.context.newPage();
  page.on('pageerror', error => complaints.push(String(error)));
  // Whatever the policy forbids is said on the console.
  page.on('console', message => { if (/Content Security Policy/.test(message.text())) complaints.push(message.text()); });
});

after(async () => {
  await browser?.close();
  await settee?.stop();
});

const go = hash => page.goto(`${settee.origin}/_utils/#/${hash}`);
const sees = text => page.getByText(text).first().waitFor();
const editor = () => page.locator('#editor');

async function signIn(name = 'admin', password = 'secret') {
  await page.fill('#sign-in [name=name]', name);
  await page.fill('#sign-in [name=password]', password);
  await page.click('#sign-in button');
}

test('a browser that must sign in is sent to a page where it can, and back', options, async () => {
  // CouchDB redirects clients that take HTML and not JSON; Chromium takes everything, so the way is shown to it.
  const redirect = await fetch(`${settee.origin}/_users/_all_docs`, { headers: { accept: 'text/html' }, redirect: 'manual' });
  assert.equal(redirect.status, 302);
  await page.goto(redirect.headers.get('location'));
  await signIn('admin', 'wrong');
  await sees('Name or password is incorrect.');
  await signIn();
  await page.waitForURL(`${settee.origin}/_users/_all_docs`);
  await sees('"total_rows"');
});

test('a link of somebody else is not followed after signing in', options, async () => {
  for (const elsewhere of ['https://example.org/', '//example.org/', '\\\\example.org', 'javascript:alert(1)']) {
    await page.goto(`${settee.origin}/_utils/session.html?return=${encodeURIComponent(elsewhere)}`);
    await signIn();
    await page.waitForFunction(() => !location.pathname.endsWith('session.html'));
    assert.equal(new URL(page.url()).origin, settee.origin, elsewhere);
  }
});

test('a database is made, and a document with numbers as they are written', options, async () => {
  await go('');
  await page.fill('[name=name]', 'pets/cats');
  await page.getByRole('button', { name: 'Create' }).click();
  await sees('Nothing here.');
  await page.getByRole('link', { name: 'New document' }).click();
  await editor().fill('{"_id":"cat/1","weight":4.0,"big":12345678901234567890,"html":"<img src=x onerror=alert(1)>"}');
  await page.getByRole('button', { name: 'Save' }).click();
  await page.getByRole('button', { name: 'Copy' }).waitFor();
  const before = await editor().inputValue();
  assert.match(before, /"big": 12345678901234567890/);
  await editor().fill(before.replace('"weight"', '"heavy": true,\n  "weight"'));
  await page.getByRole('button', { name: 'Save' }).click();
  await page.waitForFunction(() => /"_rev": "2-/.test(document.getElementById('editor')?.value));
  const stored = await settee.json('GET', '/pets%2Fcats/cat%2F1');
  assert.equal(stored.heavy, true);
});

test('a document is attached to, and let go of it', options, async () => {
  await go('db/pets%2Fcats/doc/cat%2F1');
  await page.setInputFiles('input[type=file]', { name: 'a b.txt', mimeType: 'text/plain', buffer: Buffer.from('purr') });
  await page.getByRole('button', { name: 'Attach', exact: true }).click();
  const link = page.getByRole('link', { name: 'a b.txt' });
  await link.waitFor();
  const read = await page.evaluate(async href => (await fetch(href)).text(), await link.getAttribute('href'));
  assert.equal(read, 'purr');
});

test('a conflict is shown and settled', options, async () => {
  await settee.json('PUT', '/conflicts');
  const revisions = ['1-a', '1-b', '1-c'].map(_rev => ({ _id: 'x', _rev, who: _rev }));
  await settee.json('POST', '/conflicts/_bulk_docs', { new_edits: false, docs: revisions });
  await go('db/conflicts/doc/x');
  await sees('3 revisions are in conflict');
  const keep = page.locator('#conflicts .bar', { hasText: '1-b' }).getByRole('button', { name: 'Keep this one' });
  await keep.click();
  await page.waitForFunction(() => /"who": "1-b"/.test(document.getElementById('editor')?.value));
  const settled = await settee.json('GET', '/conflicts/x?conflicts=true');
  assert.deepEqual(settled, { _id: 'x', _rev: '1-b', who: '1-b' });
});

test('documents, views and queries are paged through', options, async () => {
  await settee.json('PUT', '/many');
  const docs = Array.from({ length: 60 }, (_, n) => ({ _id: `doc-${String(n).padStart(2, '0')}`, n, kind: n % 2 ? 'odd' : 'even' }));
  docs.push({ _id: '_design/by', views: { kind: { map: 'function (doc) { emit(doc.kind, doc.n) }', reduce: '_sum' } } });
  await settee.json('POST', '/many/_bulk_docs', { docs });
  await go('db/many');
  await sees('1 – 25 of 61');
  await page.getByRole('link', { name: 'More' }).click();
  await sees('26 – 50 of 61');
  await page.getByRole('link', { name: 'by/kind' }).click();
  await page.check('[name=group]');
  await page.click('#search button');
  await page.locator('tbody tr', { hasText: '"odd"' }).getByText('900').waitFor();
  await go('db/many/find');
  await page.fill('[name=query]', '{"selector":{"n":{"$gte":58}}}');
  await page.getByRole('button', { name: 'Run' }).click();
  await page.locator('#result').getByRole('link', { name: 'doc-59' }).waitFor();
});

test('new changes appear by themselves', options, async () => {
  await go('db/many/changes');
  await sees('Newest first');
  await settee.json('PUT', '/many/fresh', {});
  await page.getByRole('link', { name: 'fresh' }).waitFor();
});

test('a user is made and signs in; the pages show what that user may do', options, async () => {
  await go('users');
  await page.fill('#new-user [name=name]', 'anna');
  await page.fill('#new-user [name=password]', 'pencil');
  await page.getByRole('button', { name: 'Create' }).click();
  await page.getByRole('link', { name: 'anna' }).waitFor();
  await page.getByRole('button', { name: 'Sign out' }).click();
  await signIn('anna', 'pencil');
  await page.locator('#who', { hasText: 'anna' }).waitFor();
  assert.equal(await page.getByRole('link', { name: 'Configuration' }).count(), 0);
  await page.getByRole('button', { name: 'Sign out' }).click();
  await signIn();
});

test('an option is set; security and tasks are shown', options, async () => {
  await go('config');
  await page.fill('#new-option [name=section]', 'log');
  await page.fill('#new-option [name=key]', 'level');
  await page.fill('#new-option [name=value]', 'warning');
  await page.getByRole('button', { name: 'Set', exact: true }).click();
  await sees('is set, and kept');
  await go('db/many/settings');
  await page.fill('[name="members.roles"]', 'readers, writers');
  await page.locator('#security').getByRole('button', { name: 'Save' }).click();
  await sees('Saved.');
  const { members } = await settee.json('GET', '/many/_security');
  assert.deepEqual(members.roles, ['readers', 'writers']);
  await go('tasks');
  await sees('Nothing is running.');
});

test('no page broke, and none asked for what the policy forbids', options, () => {
  assert.deepEqual(complaints, []);
});
