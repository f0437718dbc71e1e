// The whole application in a browser: two pages of one user, signed in differently, live, offline and back.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { start } from '../start.mjs';
import { databaseOf } from '../settee.mjs';
import { chromium, missing, openBrowser } from './support.mjs';

const PATIENCE_MS = 30_000;
const skip = !chromium() && missing('Chromium');
const WORD = 'correct horse battery';

let folder, running, ports;
const browsers = [];

before(async () => {
  if (skip) return;
  folder = mkdtempSync(join(tmpdir(), 'settee-notes-'));
  running = await start({ folder, port: 0, setteePort: 0 });
  const portOf = url => Number(new URL(url).port);
  ports = { port: portOf(running.url), setteePort: portOf(running.settee.url) };
});

after(async () => {
  for (const browser of browsers) await browser.close();
  await running?.stop();
  if (folder) rmSync(folder, { recursive: true, force: true });
});

async function browser() {
  const opened = await openBrowser();
  browsers.push(opened);
  opened.context.setDefaultTimeout(PATIENCE_MS);
  return opened.context;
}

async function open(context) {
  const page = await context.newPage();
  page.on('pageerror', error => console.error('in the page:', error));
  await page.goto(running.url);
  return page;
}

async function signIn(page, action, how, name) {
  await page.fill('[name=name]', name);
  await page.fill('[name=password]', WORD);
  await page.check(`[name=how][value=${how}]`);
  await page.click(`button[value=${action}]`);
  await page.waitForSelector('main:not([hidden])');
}

async function write(page, text) {
  await page.fill('[name=text]', text);
  await page.press('[name=text]', 'Enter');
  await sees(page, text);
}

const sees = (page, text) => page.locator('#notes li', { hasText: text }).waitFor();
const is = (page, state) => page.locator(`#state[data-state=${state}]`).waitFor();

test('the page can be installed', { skip, timeout: 60_000 }, async () => {
  const context = await browser();
  const page = await open(context);
  await page.waitForFunction(() => navigator.serviceWorker.controller);
  const session = await context.newCDPSession(page);
  const { errors, data } = await session.send('Page.getAppManifest');
  assert.deepEqual(errors, []);
  assert.equal(JSON.parse(data).display, 'standalone');
  const { installabilityErrors } = await session.send('Page.getInstallabilityErrors');
  assert.deepEqual(installabilityErrors.filter(({ errorId }) => errorId !== 'in-incognito'), []);
});

test('pages of other origins get nothing', { skip, timeout: 60_000 }, async () => {
  const context = await browser();
  const read = async page => {
    const fetched = await context.newPage();
    await fetched.goto(page);
    return fetched.evaluate(url => fetch(url).then(() => 'read', () => 'refused'), `${running.settee.url}/`);
  };
  assert.equal(await read(running.url), 'read');
  // The same page by another name is of another origin.
  assert.equal(await read(running.url.replace('127.0.0.1', 'localhost')), 'refused');
});

// Last, for the servers are stopped and started in it.
test('notes sync live, offline and back, with a token and with a cookie', { skip, timeout: 120_000 }, async () => {
  const one = await browser(), two = await browser();
  let first = await open(one);
  await signIn(first, 'register', 'proxy', 'anna');
  await write(first, 'milk');
  await is(first, 'synced');

  const second = await open(two);
  await signIn(second, 'login', 'cookie', 'anna');
  await sees(second, 'milk');
  assert.ok((await two.cookies(running.settee.url)).some(cookie => cookie.name === 'AuthSession'), 'a cookie is what it uses');
  assert.ok(!(await one.cookies(running.settee.url)).length, 'and the other page uses none');
  await write(second, 'bread');
  await sees(first, 'bread');
  await second.locator('#notes li', { hasText: 'milk' }).getByText('Delete').click();
  await first.locator('#notes li', { hasText: 'milk' }).waitFor({ state: 'detached' });

  // What other users have is out of reach, also with a token made up.
  const third = await browser();
  const otto = await open(third);
  await signIn(otto, 'register', 'proxy', 'otto');
  const reach = (headers, database) => first.evaluate(async ([url, headers]) => {
    return (await fetch(url, { headers })).status;
  }, [`${running.settee.url}/${database}`, headers]);
  const mine = await first.evaluate(() => JSON.parse(localStorage.getItem('notes-session')).headers);
  assert.equal(await reach(mine, databaseOf('anna')), 200);
  assert.equal(await reach(mine, databaseOf('otto')), 403);
  assert.equal(await reach({ ...mine, 'X-Auth-CouchDB-UserName': 'otto' }, databaseOf('otto')), 401);
  assert.equal(await reach({}, databaseOf('anna')), 401);

  // The network goes, and so do the servers; the page goes on, is closed and opened again.
  await first.waitForFunction(() => navigator.serviceWorker.controller);
  await one.setOffline(true);
  await running.stop();
  await write(first, 'written offline');
  await first.close();
  first = await open(one);
  await sees(first, 'bread');
  await sees(first, 'written offline');
  await is(first, 'offline');
  await write(first, 'written after closing the tab');

  running = await start({ folder, ...ports });
  await one.setOffline(false);
  await sees(second, 'written offline');
  await sees(second, 'written after closing the tab');
  await is(first, 'synced');
  await write(second, 'and on it goes');
  await sees(first, 'and on it goes');
});
