// The pages at /_utils/ in a browser: signing in, databases, documents page by page, editing, conflicts, activity.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { chromium, missing, openBrowser } from '../../examples/offline-notes/test/support.mjs';
import { Settee } from '../clients/settee.mjs';

const PATIENCE_MS = 30_000;
const skip = !chromium() && missing('Chromium');

let settee, browser, page;
/** What the browser complains of: scripts that fail, and what the policy for contents has stopped. */
const complaints = [];

before(async () => {
  if (skip) return;
  settee = await Settee.start();
  browser = await openBrowser();
  browser.context.setDefaultTimeout(PATIENCE_MS);
  page = await browser.context.newPage();
  page.on('pageerror', error => complaints.push(`${error}`));
  page.on('console', line => {
    // Answers of the server that say no are lines there, too.
    if (line.type() === 'error' && !line.text().startsWith('Failed to load resource')) complaints.push(line.text());
  });
  page.on('dialog', dialog => dialog.accept());
});

after(async () => {
  await browser?.close();
  await settee?.stop();
});

const sees = text => page.locator('main', { hasText: text }).waitFor();

async function signIn(name, password) {
  await page.fill('[name=name]', name);
  await page.fill('[name=password]', password);
  await page.click('button.main');
}

test('who asks for what is not theirs signs in and is led back', { skip }, async () => {
  await settee.json('PUT', '/fruit');
  const documents = Array.from({ length: 120 }, (_, n) => ({ _id: `doc${String(n).padStart(3, '0')}`, n }));
  await settee.json('POST', '/fruit/_bulk_docs', { docs: documents });
  await page.goto(`${settee.origin}/fruit/doc007`);
  assert.match(page.url(), /\/_utils\/session\.html\?return=%2Ffruit%2Fdoc007&reason=/);
  await sees('You are not authorized to access this db.');
  await signIn('admin', 'wrong');
  await sees('Name or password is incorrect.');
  await signIn('admin', 'secret');
  await page.waitForURL(`${settee.origin}/fruit/doc007`);
  assert.equal(JSON.parse(await page.locator('body').innerText()).n, 7);
});

test('nobody is led to another server', { skip }, async () => {
  await page.goto(`${settee.origin}/_utils/`);
  await page.click('#sign-out');
  for (const elsewhere of ['//example.org/', '/\\example.org/', 'https://example.org/', 'javascript:alert(1)']) {
    await page.goto(`${settee.origin}/_utils/session.html?return=${encodeURIComponent(elsewhere)}`);
    await signIn('admin', 'secret');
    await page.locator('#sign-out').waitFor();
    assert.equal(new URL(page.url()).origin, settee.origin, elsewhere);
    await page.click('#sign-out');
  }
});

test('databases and documents are browsed page by page', { skip }, async () => {
  await page.goto(`${settee.origin}/_utils/`);
  await signIn('admin', 'secret');
  await page.click('main >> text=fruit');
  await sees('120 documents');
  assert.equal(await page.locator('tbody tr').count(), 50);
  await page.click('text=Next page');
  await page.locator('td', { hasText: 'doc050' }).waitFor();
  await page.click('text=Next page');
  await page.locator('td', { hasText: 'doc119' }).waitFor();
  assert.equal(await page.locator('tbody tr').count(), 20);
  assert.equal(await page.locator('text=Next page').count(), 0);
  await page.click('text=First page');
  await page.locator('td', { hasText: 'doc000' }).waitFor();
});

test('a document is edited as text, large numbers and all', { skip }, async () => {
  await settee.json('PUT', '/fruit/big', { text: 'a{"[', list: [], object: {} });
  // 2^53 + 1 is no number of JavaScript's.
  const { _rev } = await settee.json('GET', '/fruit/big');
  await settee.fetch('PUT', '/fruit/big', Buffer.from(`{"_rev":"${_rev}","n":9007199254740993,"text":"a{\\"[","list":[],"object":{}}`),
    { 'content-type': 'application/json' });
  await page.goto(`${settee.origin}/_utils/#/doc/fruit/big`);
  const area = page.locator('textarea');
  const text = await area.inputValue();
  assert.match(text, /^ {2}"n": 9007199254740993,$/m);
  assert.match(text, /^ {2}"list": \[\],$/m);
  assert.match(text, /^ {2}"object": \{\}$/m);
  await area.fill('{');
  await page.click('button.main');
  await page.locator('.message').waitFor();
  await area.fill(text.replace('"list": []', '"list": [\n1]'));
  await page.click('button.main');
  await page.waitForFunction(() => document.querySelector('textarea').value.includes('"_rev": "3-'));
  const stored = await (await settee.fetch('GET', '/fruit/big')).text();
  assert.match(stored, /"n":9007199254740993,"text":"a\{\\"\[","list":\[1\],"object":\{\}/);
});

test('names of all kinds are found again, and are never markup', { skip }, async () => {
  const odd = 'a/b?c#d%20<img src=x onerror=alert(1)>&ü';
  await settee.json('PUT', `/fruit/${encodeURIComponent(odd)}`, { html: '<script>alert(1)</script>' });
  await settee.json('PUT', '/fruit/_design/views', { views: { v: { map: 'function(doc) {}' } } });
  await page.goto(`${settee.origin}/_utils/#/db/fruit`);
  await page.click(`td >> text=${odd}`);
  await page.waitForFunction(() => document.querySelector('textarea')?.value.includes('<script>'));
  assert.equal(await page.locator('main img, main script').count(), 0);
  await page.goto(`${settee.origin}/_utils/#/db/fruit?start=_design`);
  await page.click('td >> text=_design/views');
  await page.waitForFunction(() => document.querySelector('textarea')?.value.includes('function(doc)'));
});

test('conflicts are seen and resolved', { skip }, async () => {
  const write = (rev, from) => settee.json('POST', '/fruit/_bulk_docs',
    { new_edits: false, docs: [{ _id: 'torn', _rev: `1-${rev.repeat(32)}`, from }] });
  await write('a', 'here');
  await write('b', 'there');
  await page.goto(`${settee.origin}/_utils/#/doc/fruit/torn`);
  await sees('2 revisions in conflict');
  await page.click(`#conflicts >> text=1-${'a'.repeat(32)}`);
  await page.waitForFunction(() => document.querySelector('textarea')?.value.includes('"here"'));
  await sees('is not the one that readers are given');
  await page.click('text=Delete this revision');
  await page.waitForFunction(() => document.querySelector('textarea')?.value.includes('"there"'));
  assert.equal(await page.locator('#conflicts').count(), 0);
  assert.equal((await settee.json('GET', '/fruit/torn?conflicts=true'))._conflicts, undefined);
});

test('a document is made, and deleted', { skip }, async () => {
  await page.goto(`${settee.origin}/_utils/#/new/fruit`);
  await page.fill('textarea', '{"_id": "new one", "made": "here"}');
  await page.click('button.main');
  await page.waitForFunction(() => document.querySelector('textarea')?.value.includes('"_rev": "1-'));
  await page.click('text=Delete');
  await sees('Revision');
  assert.equal((await settee.fetch('GET', '/fruit/new%20one')).status, 404);
});

test('what goes on is shown', { skip }, async () => {
  await page.goto(`${settee.origin}/_utils/#/tasks`);
  await page.locator('h1', { hasText: 'Activity' }).waitFor();
  await page.goto(`${settee.origin}/_utils/#/replications`);
  await page.locator('h1', { hasText: 'Replications' }).waitFor();
});

test('a user opens what is theirs', { skip }, async () => {
  const user = { name: 'anna', password: 'pw', type: 'user', roles: [] };
  await settee.json('PUT', '/_users/org.couchdb.user:anna', user);
  await settee.json('PUT', '/fruit/_security', { members: { names: ['anna'], roles: [] } });
  await page.click('#sign-out');
  await signIn('anna', 'pw');
  await page.goto(`${settee.origin}/_utils/#/`);
  await sees('Only administrators see the list.');
  await page.fill('[name=database]', 'fruit');
  await page.click('main button');
  await sees('documents');
  await page.goto(`${settee.origin}/_utils/#/db/_users`);
  await sees('You are not');
});

test('the browser has complained of nothing', { skip }, () => assert.deepEqual(complaints, []));
